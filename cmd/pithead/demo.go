package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/configs"
	"github.com/pithead/pithead/gateway/demo"
	"github.com/pithead/pithead/gateway/server"
)

// demoOptions are the flags of `pithead demo`.
type demoOptions struct{ listen, admin, consul string }

func demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the gateway with stable and canary demo upstreams inside",
		Long: `Demo runs the gateway with three instances of a small service and a gRPC service
inside this process, and prints requests to try. Its configuration is written to a folder of
its own, so that it can be edited while the gateway runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd, o) },
	}
	cmd.Flags().StringVar(&o.listen, "listen", ":8080", "address of the gateway")
	cmd.Flags().StringVar(&o.admin, "admin", defaultAdmin, "address of the admin API")
	cmd.Flags().StringVar(&o.consul, "consul", "", "a Consul binary: start an agent and register the services there")
	cmd.AddCommand(demoServiceCommand())
	return cmd
}

func runDemo(cmd *cobra.Command, o demoOptions) (err error) {
	services, err := demo.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, demo.Stop(services)) }()
	orders, err := demo.StartOrders("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, orders.Stop()) }()
	vars := map[string]string{"DEMO_LISTEN": o.listen, "DEMO_ADMIN": o.admin, demo.OrdersEnv: orders.Addr}
	for _, s := range services {
		vars[s.Env()] = s.Addr
	}
	dir, err := os.MkdirTemp("", "pithead-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := "demo.yaml"
	if o.consul != "" {
		file = "demo-consul.yaml"
		consul, err := startDemoConsul(cmd, o.consul, dir, services)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, consul.Stop()) }()
		vars["DEMO_CONSUL"] = consul.Address
	}
	text, err := configs.Files.ReadFile(file)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, defaultFile)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	if err := os.CopyFS(dir, configs.GRPC); err != nil {
		return err
	}
	for name, value := range vars {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	log := newLog(cmd.ErrOrStderr(), slog.LevelWarn)
	err = serve(cmd.Context(), path, log, func(s *server.Server) {
		cmd.Print(demoText(path, program(), s.Addrs()["web"].String(), o.admin))
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nanother process listens there; choose other addresses with --listen and --admin", err)
	}
	return err
}

// program is how to call this program from another folder.
func program() string {
	if filepath.Base(os.Args[0]) == os.Args[0] {
		return os.Args[0] // found by PATH
	}
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// startDemoConsul starts an agent, whose output goes into a file of dir, and
// registers the services.
func startDemoConsul(cmd *cobra.Command, binary, dir string, services []*demo.Service) (*demo.Consul, error) {
	out, err := os.Create(filepath.Join(dir, "consul.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the agent has a copy of its own
	consul, err := demo.StartConsul(cmd.Context(), binary, out)
	if err != nil {
		said, _ := os.ReadFile(out.Name()) // without it the error still tells the most
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	for _, s := range services {
		if err := consul.Register(cmd.Context(), s); err != nil {
			return nil, errors.Join(fmt.Errorf("register %s: %w", s.Name, err), consul.Stop())
		}
	}
	cmd.Printf("Consul is at %s\n", consul.Address)
	return consul, nil
}

// demoText is what a newcomer reads first. Everything in it can be typed.
func demoText(path, program, listen, admin string) string {
	web, metrics, flag := reachable(listen), admin+"/metrics", ""
	if admin != defaultAdmin {
		flag = " --admin " + admin
	}
	if socket, unix := strings.CutPrefix(admin, "unix:"); unix {
		metrics = "--unix-socket " + socket + " localhost/metrics"
	}
	return fmt.Sprintf(`Pithead serves on %[1]s. Try, in another terminal:

  curl %[1]s/v1/orders/7                          # arm stable
  curl -H 'x-canary: always' %[1]s/v1/orders/7    # arm canary
  for u in ann bob cyd dan; do curl -H "x-user: $u" %[1]s/v2/hello; done   # each user keeps an arm
  curl %[1]s/shop/v1/orders/7                     # REST in, gRPC out
  curl %[2]s
  %[3]s explain%[4]s GET http://%[1]s/v1/orders/7 -H 'x-canary: always'

Edit %[5]s and save: it is taken over at once.
Ctrl-C ends it.

`, web, metrics, program, flag, path)
}

// reachable is an address that a client on this machine can use.
func reachable(listen string) string {
	addr, err := netip.ParseAddrPort(listen)
	if err == nil && addr.Addr().IsUnspecified() {
		return fmt.Sprintf("localhost:%d", addr.Port())
	}
	return listen
}
