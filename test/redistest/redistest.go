// Package redistest runs real Redis servers for a test:
//
//	server := redistest.Start(t)
//	server.Pause() // it answers nobody, and holds on to its connections
//
// The binary is the one that the environment variable PITHEAD_REDIS names, else the
// redis-server of the system (Debian's package redis-server). Sentinels and nodes of a
// cluster are the same program.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pithead/pithead/test/freeport"
)

// Env is the environment variable with the path of the redis-server binary.
const Env = "PITHEAD_REDIS"

const (
	startLimit = 30 * time.Second
	startTries = 3 // a port may be taken between the look for a free one and its use
)

// Server is a running Redis.
type Server struct {
	Addr string // host:port; it stays the same over restarts
	Port int

	// TLSAddr is the address for TLS, of a server that is started with --tls-cert-file.
	TLSAddr string

	t      testing.TB
	binary string
	dir    string
	file   string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
	client *redis.Client
}

// Start runs a server until the end of the test, without persistence. args are
// settings as on its command line: "--requirepass", "secret".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return startWith(t, "", args...)
}

// startWith has a file with settings, which the server may write down more in.
func startWith(t testing.TB, file string, args ...string) *Server {
	t.Helper()
	binary := os.Getenv(Env)
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("redis-server"); err != nil {
			t.Fatalf("install the package redis-server, or set %s to its binary: %v", Env, err)
		}
	}
	s := &Server{t: t, binary: binary, dir: t.TempDir(), file: file, args: args}
	t.Cleanup(s.close)
	for try := 1; ; try++ {
		s.pickPorts()
		err := s.run()
		if err == nil {
			return s
		}
		if try == startTries {
			t.Fatal(err)
		}
	}
}

// pickPorts finds free ports, which stay the server's over restarts. Nodes of a cluster
// use the port 10,000 above as well.
func (s *Server) pickPorts() {
	s.t.Helper()
	s.Port = s.freePort()
	s.Addr = "127.0.0.1:" + strconv.Itoa(s.Port)
	if s.setting("--tls-cert-file") != "" {
		s.TLSAddr = "127.0.0.1:" + strconv.Itoa(s.freePort())
	}
	if s.client != nil {
		_ = s.client.Close() // of the port that was taken
	}
	s.client = redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true, Password: s.setting("--requirepass")})
}

func (s *Server) freePort() int {
	s.t.Helper()
	port, release, err := freeport.Take()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(release)
	return port
}

// setting is the value of one that the server was started with.
func (s *Server) setting(name string) string {
	for i := 0; i+1 < len(s.args); i++ {
		if s.args[i] == name {
			return s.args[i+1]
		}
	}
	return ""
}

// run starts the process and waits until it answers.
func (s *Server) run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(s.Port), "--dir", s.dir}
	if _, port, err := net.SplitHostPort(s.TLSAddr); err == nil {
		args = append(args, "--tls-port", port)
	}
	if s.file != "" {
		args = append([]string{s.file}, args...)
	} else {
		args = append(args, "--save", "", "--enable-debug-command", "yes")
	}
	cmd := exec.Command(s.binary, append(args, s.args...)...) //nolint:gosec,noctx // whoever runs the tests names the binary; it lives until Kill
	cmd.Stdout, cmd.Stderr = log, log
	endWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis: %w", err)
	}
	exited := make(chan struct{})
	s.cmd, s.exited = cmd, exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // it is killed, always
	}()
	if err := s.wait(func(ctx context.Context) bool { return answers(s.client.Ping(ctx).Err()) }); err != nil {
		s.Kill()
		text, _ := os.ReadFile(filepath.Join(s.dir, "log")) // as much as there is
		return fmt.Errorf("start redis: %w; its log:\n%s", err, text)
	}
	return nil
}

// answers says whether there is a server, which may want a password that the test has
// given it later.
func answers(err error) bool {
	return err == nil || redis.IsAuthError(err)
}

// wait polls until ok, for a while.
func (s *Server) wait(ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok(ctx) {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it exited")
		case <-ctx.Done():
			return fmt.Errorf("not in %s", startLimit)
		case <-tick.C:
		}
	}
}

// Do sends a command.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	v, err := s.client.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// Info is a field of INFO.
func (s *Server) Info(section, field string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	return s.client.InfoMap(ctx, section).Item(section, field)
}

// Kill ends the server as a crash would. It may be called twice.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	<-s.exited
	s.cmd = nil
}

// Restart starts a server that was killed, or a running one anew, without its data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.run(); err != nil {
		s.t.Fatal(err)
	}
}

// Pause stops the process: connections to it stay, and nobody is answered.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) close() {
	s.Kill()
	if s.client != nil {
		_ = s.client.Close() // nothing is on its way
	}
}
