package main

import (
	"context"
	"debug/buildinfo"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"
)

//go:embed configs
var configs embed.FS

// peer is a proxy under test.
type peer struct {
	name    string
	version []string                           // the command that tells its version; none for a Go module, whose program holds it
	module  string                             // a program that was built from a version of a Go module
	files   []string                           // templates in configs/, written out for a run
	args    func(dir string, s setup) []string // its command line
	not     map[string]string                  // cases that it cannot take, and why
}

// setup is what the templates of a peer are filled with.
type setup struct {
	Kind  kind
	Addr  string // where the proxy listens
	Port  string // of Addr
	Admin string // for those that have an admin address
	H1    string // the origin for HTTP/1.1
	H2C   string // the origin for gRPC
	Cert  string // certificate, then key, in PEM files
	Key   string
	Both  string // both in one file
	Dir   string // for files of the proxy's own
	Proto string // what the service of the benchmark of transcoding is
}

// programs finds the binaries: those of make in bin, nginx and HAProxy by PATH.
type programs struct{ bin string }

func (p programs) peers() []peer {
	own := func(name string) string { return filepath.Join(p.bin, "peers", name) }
	pithead := filepath.Join(p.bin, "pithead")
	nginx, haproxy := system("nginx"), system("haproxy")
	return []peer{
		{
			name: "pithead", version: []string{pithead, "version"}, files: []string{"pithead.yaml"},
			args: func(dir string, _ setup) []string {
				return []string{pithead, "run", filepath.Join(dir, "pithead.yaml")}
			},
		},
		{
			name: "nginx", version: []string{nginx, "-v"}, files: []string{"nginx.conf"},
			args: func(dir string, _ setup) []string {
				return []string{nginx, "-p", dir, "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")}
			},
			not: tokenCases(),
		},
		{
			name: "haproxy", version: []string{haproxy, "-v"}, files: []string{"haproxy.cfg"},
			args: func(dir string, _ setup) []string {
				return []string{haproxy, "-db", "-q", "-f", filepath.Join(dir, "haproxy.cfg")}
			},
			not: tokenCases(),
		},
		{
			name: "caddy", module: own("caddy"), files: []string{"Caddyfile"},
			args: func(dir string, _ setup) []string {
				return []string{"env", "HOME=" + dir, own("caddy"), "run", "--adapter", "caddyfile", "--config", filepath.Join(dir, "Caddyfile")}
			},
			not: tokenCases(),
		},
		{
			name: "traefik", module: own("traefik"), files: []string{"traefik.yaml", "traefik-routes.yaml"},
			args: func(dir string, _ setup) []string {
				return []string{own("traefik"), "--configFile=" + filepath.Join(dir, "traefik.yaml")}
			},
			not: tokenCases(),
		},
		{
			name: "skipper", module: own("skipper"), files: []string{"skipper.eskip"},
			args: func(dir string, s setup) []string {
				args := []string{
					own("skipper"), "-address", s.Addr, "-support-listener", s.Admin, "-routes-file", filepath.Join(dir, "skipper.eskip"),
					"-access-log-disabled", "-application-log-level", "ERROR", "-idle-conns-num", "256",
				}
				if s.Kind == kindTLS {
					args = append(args, "-tls-cert", s.Cert, "-tls-key", s.Key)
				}
				return args
			},
			not: withTokens("grpc", "speaks no HTTP/2 without TLS to its clients"),
		},
	}
}

// system is a program of the system, which may lie where only root looks.
func system(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return filepath.Join("/usr/sbin", name)
}

// start writes the files of a peer and starts it on the core of the proxies. It
// returns when the peer accepts connections.
func (p *peer) start(ctx context.Context, s setup) (*process, error) {
	for _, name := range p.files {
		text, err := template.ParseFS(configs, "configs/"+name)
		if err != nil {
			return nil, err
		}
		f, err := os.Create(filepath.Join(s.Dir, name))
		if err != nil {
			return nil, err
		}
		if err := text.Execute(f, s); err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	proc, err := startOn(proxyCore, s.Dir, p.args(s.Dir, s)...)
	if err != nil {
		return nil, err
	}
	if err := accepts(ctx, s.Addr, proc.ended); err != nil {
		_ = proc.stop() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w\n%s", p.name, err, proc.out)
	}
	return proc, nil
}

// accepts waits until somebody listens on addr.
func accepts(ctx context.Context, addr string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nobody listens on %s: %w", addr, err)
		case <-ended:
			return fmt.Errorf("it ended instead of listening on %s", addr)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// versionOf is that of a program's module, or the first line in which a program
// says its version.
func (p *peer) versionOf(ctx context.Context) (string, error) {
	if p.module != "" {
		info, err := buildinfo.ReadFile(p.module)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%s %s, %s", info.Main.Path, info.Main.Version, info.GoVersion), nil
	}
	out, err := exec.CommandContext(ctx, p.version[0], p.version[1:]...).CombinedOutput() //nolint:gosec // the programs of this benchmark
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(p.version, " "), err, out)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); strings.ContainsAny(line, "0123456789") {
			return line, nil
		}
	}
	return strings.TrimSpace(string(out)), nil
}
