package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/limitview"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/secrets"
	"github.com/pithead/pithead/gateway/server"
)

func runCommand() *cobra.Command {
	var level slog.Level
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Run the gateway",
		Long: `Run serves the configuration in FILE (default pithead.yaml) until SIGTERM or
SIGINT, and then drains; a second signal hurries. A changed file is taken over,
SIGHUP reloads in any case, SIGUSR1 opens the access log anew.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: yamlFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return serve(cmd.Context(), fileOf(args), newLog(cmd.ErrOrStderr(), level), func(*server.Server) {})
		},
	}
	cmd.Flags().TextVar(&level, "log-level", slog.LevelInfo, "least level of the process log: debug, info, warn or error")
	return cmd
}

func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// serve runs the gateway until a signal or ctx ends it. ready is called when it
// serves.
func serve(ctx context.Context, path string, log *slog.Logger, ready func(*server.Server)) error {
	metrics := obs.NewMetrics(obs.Build{Version: version, Commit: commit})
	var announcing sync.WaitGroup
	defer announcing.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := server.New(server.Options{
		Path: path, Metrics: metrics, Log: log, Admin: adminHandler(metrics, log), ListenAdmin: admin.Listen,
		Secrets: secrets.NewKeeper().Opening,
		Serving: func(s *server.Server) {
			ready(s)
			announcing.Go(func() { announce(ctx, s, log) })
			rest(log)
		},
	})
	metrics.CollectUpstreams(func() []obs.UpstreamState {
		if snap := s.Snapshot(); snap != nil {
			return upstreamStates(snap)
		}
		return nil
	})
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(log)           // net/http writes some lines to the standard logger
	signal.Ignore(syscall.SIGPIPE) // a reader of the access log that goes away must not end the process
	done := make(chan struct{})
	defer func() { <-done }()
	ended, end := context.WithCancel(context.Background())
	defer end()
	go func() {
		defer close(done)
		handleSignals(ended, signals, s, log, stop)
	}()
	ballast := make([]byte, ballastSize)
	defer runtime.KeepAlive(ballast)
	return s.Run(ctx)
}

// rest gives back the memory that the start alone needed.
func rest(log *slog.Logger) {
	debug.FreeOSMemory()
	if err := forgetStart(); err != nil {
		log.Debug(err.Error())
	}
}

// ballastSize is the size of a block that is never touched, and so takes no
// memory, but counts when the garbage collector sets its next goal. The heap of a
// gateway is small: without it, a few hundred requests fill it, and a tenth of
// the CPU goes into looking at the same goroutines again. What it costs is as
// much garbage more; a large heap does not notice.
const ballastSize = 8 << 20

// handleSignals runs until ended. The first SIGTERM or SIGINT stops, the second hurries.
func handleSignals(ended context.Context, signals <-chan os.Signal, s *server.Server, log *slog.Logger, stop func()) {
	stopping := false
	var reloads sync.WaitGroup // beside the loop: a SIGTERM does not wait for one
	defer reloads.Wait()
	for {
		var sig os.Signal
		select {
		case sig = <-signals:
		case <-ended.Done():
			return
		}
		switch {
		case sig == syscall.SIGHUP:
			reloads.Go(func() { _, _ = s.Reload(ended, server.TriggerSignal) }) // the server logs why it refused
		case sig == syscall.SIGUSR1:
			if err := s.ReopenLog(); err != nil {
				log.Error("access log not opened again", "error", err)
			}
		case stopping:
			s.Hurry()
		default:
			log.Info("stopping", "signal", sig.String())
			stopping = true
			stop()
		}
	}
}

// adminHandler wires the admin API to a server.
func adminHandler(metrics *obs.Metrics, log *slog.Logger) func(*server.Server, *config.Config) (http.Handler, error) {
	return func(s *server.Server, c *config.Config) (http.Handler, error) {
		return admin.New(admin.Options{
			Address: c.Admin.Address, Token: c.Admin.Token, Hosts: c.Admin.Hosts,
			Metrics: metrics.Handler(),
			Ready:   s.Ready,
			Reload: func(ctx context.Context) (admin.ReloadResult, error) {
				generation, err := s.Reload(ctx, server.TriggerAdmin)
				return admin.ReloadResult{Generation: generation, Warnings: warnings(s), Changes: changesOf(s, generation)}, err
			},
			Config:    c.Redacted,
			Status:    func() admin.Status { return statusView(s) },
			History:   func() []admin.Generation { return historyView(s) },
			Routes:    func() []admin.RouteInfo { return routesView(s.Snapshot()) },
			Endpoints: func() []admin.UpstreamInfo { return endpointsView(s.Snapshot()) },
			Breakers:  func() []admin.BreakerInfo { return breakersView(s.Snapshot()) },
			Caches:    func() []admin.CacheInfo { return cachesView(s.Snapshot()) },
			Limits: func(ctx context.Context, name string, who limitview.Facts) limitview.Report {
				return limitsView(ctx, s, name, who)
			},
			Labels: s.Labels,

			Documented: func() []string { return s.Snapshot().Documented() },
			OpenAPI:    func(route string) ([]byte, error) { return openAPIView(s.Snapshot(), route) },

			PurgeCache: func(name string, what admin.CachePurge, by string) (int, error) {
				return purgeCache(s.Snapshot(), log, name, what, by)
			},
			ForceBreaker: func(name, force, by string) (admin.BreakerInfo, error) {
				return forceBreaker(s.Snapshot(), log, name, force, by)
			},
			Explain: func(r *http.Request) admin.Explanation { return explainView(s.Snapshot(), r) },
		})
	}
}

// warnings are what works but should not stay.
func warnings(s *server.Server) (all []string) {
	for _, w := range s.Snapshot().Config.Warnings {
		all = append(all, w.Error())
	}
	_, why := s.Ready()
	return append(all, why...)
}

const defaultAdmin = "127.0.0.1:9901"

// adminFlags are the flags of commands that talk to a running daemon.
type adminFlags struct{ address, tokenFile string }

func (f *adminFlags) add(cmd *cobra.Command) {
	address := os.Getenv("PITHEAD_ADMIN")
	if address == "" {
		address = defaultAdmin
	}
	cmd.Flags().StringVar(&f.address, "admin", address, "admin address of the running daemon, or unix:PATH ($PITHEAD_ADMIN)")
	cmd.Flags().StringVar(&f.tokenFile, "token-file", "", "file with the admin token")
}

func (f *adminFlags) dial() (*admin.Client, error) {
	token, err := readToken(f.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("token file: %w", err)
	}
	return admin.Dial(f.address, token)
}
