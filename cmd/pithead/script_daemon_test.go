package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pithead/pithead/gateway/admin"
)

// daemon is the program under test.
type daemon struct {
	cmd    *exec.Cmd
	log    string // path of its process log
	exited chan struct{}
}

func start(s *script, args []string) (output, error) {
	if s.daemon != nil {
		return output{}, errors.New("a daemon is running")
	}
	var env []string
	for _, name := range s.names {
		env = append(env, name+"="+s.Getenv(name))
	}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		env, args = append(env, args[0]), args[1:]
	}
	d := &daemon{cmd: exec.Command("pithead", args...), log: s.MkAbs("daemon.log"), exited: make(chan struct{})}
	d.cmd.Dir, d.cmd.Env = s.MkAbs("."), env
	endWithParent(d.cmd)
	stdout, err := os.Create(s.MkAbs("daemon.out"))
	if err != nil {
		return output{}, err
	}
	defer stdout.Close() // the daemon has a copy of its own
	stderr, err := os.Create(d.log)
	if err != nil {
		return output{}, err
	}
	defer stderr.Close()
	d.cmd.Stdout, d.cmd.Stderr = stdout, stderr
	if err := d.cmd.Start(); err != nil {
		return output{}, err
	}
	go func() {
		defer close(d.exited)
		_ = d.cmd.Wait() // ProcessState says how it ended
	}()
	s.daemon = d
	if err := d.serving(s.Getenv("ADMIN")); err != nil {
		text, _ := os.ReadFile(d.log) // as much as there is
		return output{stderr: string(text)}, errors.Join(err, s.kill())
	}
	return output{}, nil
}

// serving waits until the first configuration is in use.
func (d *daemon) serving(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if client, err := admin.Dial(address, ""); err == nil {
			status, err := client.Status(ctx)
			client.Close()
			if err == nil && status.Generation > 0 {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-d.exited:
			return fmt.Errorf("the daemon ended at once: %s", d.cmd.ProcessState)
		case <-ctx.Done():
			return errors.New("the daemon does not serve")
		}
	}
}

func signalDaemon(s *script, args []string) (output, error) {
	if s.daemon == nil || len(args) != 1 {
		return output{}, errUsage
	}
	sig, ok := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1,
	}[args[0]]
	if !ok {
		return output{}, fmt.Errorf("unknown signal %s", args[0])
	}
	return output{}, s.daemon.cmd.Process.Signal(sig)
}

func exited(s *script, args []string) (output, error) {
	if s.daemon == nil || len(args) != 1 {
		return output{}, errUsage
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		return output{}, err
	}
	select {
	case <-s.daemon.exited:
	case <-time.After(patience):
		return output{}, errors.New("the daemon does not end")
	}
	state := s.daemon.cmd.ProcessState
	if err := s.kill(); err != nil {
		return output{}, err
	}
	if state.ExitCode() != want {
		return output{}, fmt.Errorf("the daemon ended with %s, want %d", state, want)
	}
	return output{}, nil
}

func end(s *script, args []string) (output, error) {
	if len(args) != 0 {
		return output{}, errUsage
	}
	if out, err := signalDaemon(s, []string{"TERM"}); err != nil {
		return out, err
	}
	return exited(s, []string{"0"})
}

// kill ends the daemon, if it still runs, and looks at what it has written for
// what no script may cause.
func (s *script) kill() error {
	d := s.daemon
	if d == nil {
		return nil
	}
	s.daemon = nil
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.exited
	text, err := os.ReadFile(d.log)
	if err != nil {
		return err
	}
	for _, never := range []string{"DATA RACE", "panic", "goroutine "} {
		if bytes.Contains(text, []byte(never)) {
			return fmt.Errorf("%q in the log of the daemon:\n%s", never, text)
		}
	}
	return nil
}
