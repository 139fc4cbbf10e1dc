package docker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The image's user; no name of the host is meant.
const imageUser = 65532

// command is the image's entry point in its root file system, as its user. Root
// changes to that user as a container engine does; anybody else gets a user
// namespace in which there is no other.
func (s *stage) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if want := strconv.Itoa(imageUser) + ":" + strconv.Itoa(imageUser); s.user != want {
		t.Fatalf("the image runs as %q, want %s", s.user, want)
	}
	line := slices.Concat(s.entrypoint, args)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.dir, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: imageUser, Gid: imageUser}
		return cmd
	}
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: imageUser, HostID: os.Getgid(), Size: 1}}
	return cmd
}

// start runs a command until the test ends, which asks it to end by SIGTERM and
// wants it to do so well.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("it ended before it was told to: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	for { // below the ports that outgoing connections have: one of them could take it
		addr := fmt.Sprint("127.0.0.1:", 15_000+rand.N(15_000))
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close() // it was only to see
		return addr
	}
}

// get asks until somebody answers 200.
func get(t *testing.T, url, header string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var last string
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Canary", header)
		resp, err := client.Do(req)
		if err != nil {
			last = err.Error()
		} else {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return string(body)
			}
			last = resp.Status + " " + string(body)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("GET %s: %s", url, last)
	return ""
}

func TestImage(t *testing.T) {
	stages := build(t)
	gateway, demo := stages["pithead"], stages["demo"]

	t.Run("the binary is static", func(t *testing.T) {
		out, err := gateway.command(t, "version").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "pithead ") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("so is the probe, which needs no other file", func(t *testing.T) {
		probe := stages["probe"]
		files, err := filepath.Glob(filepath.Join(probe.dir, "*", "*", "*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the image holds %v, %v", files, err)
		}
		cmd := exec.Command(probe.entrypoint[0], "--version")
		cmd.Dir, cmd.Env = "/", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: probe.dir}
		if os.Getuid() != 0 {
			cmd.Path, cmd.SysProcAttr = probe.at(cmd.Path), nil
		}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "pithead-probe ") {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("what the image runs by default is a good configuration", func(t *testing.T) {
		args := append([]string{"check"}, gateway.cmd[1:]...)
		if out, err := gateway.command(t, args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("so is that of the compose file", func(t *testing.T) {
		if err := copyTree(filepath.Join(root, "docker", "pithead"), gateway.at("/etc/compose")); err != nil {
			t.Fatal(err)
		}
		if out, err := gateway.command(t, "check", "/etc/compose/pithead.yaml").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("its user owns the folder for what outlives a restart", func(t *testing.T) {
		info, err := os.Stat(gateway.at("/var/lib/pithead"))
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t).Uid; os.Getuid() == 0 && owner != imageUser {
			t.Errorf("it belongs to %d", owner)
		}
	})
	t.Run("requests go through it to the demo services", func(t *testing.T) {
		web, admin, stable, canary := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
		start(t, demo.command(t, "--name", "orders-stable", "--arm", "stable", "--listen", stable))
		start(t, demo.command(t, "--name", "orders-canary", "--arm", "canary", "--listen", canary))
		settings := fmt.Sprintf(`
listeners: {web: {address: "%s"}}
admin: {address: "%s"}
shutdown: {delay: 0s, lame_duck: 0s}
upstreams:
  orders:
    discover: {static: {targets: [{address: "%s", tags: [stable]}, {address: "%s", tags: [canary]}]}}
    arms: {stable: {tag: stable}, canary: {tag: canary}}
routes:
  - {match: {prefix: /}, use: [canary: {header: x-canary}], to: orders}
`, web, admin, stable, canary)
		if err := os.WriteFile(gateway.at("/etc/pithead/pithead.yaml"), []byte(settings), 0o644); err != nil {
			t.Fatal(err)
		}
		daemon := gateway.command(t, gateway.cmd...)
		start(t, daemon)
		for header, arm := range map[string]string{"always": "canary", "never": "stable"} {
			if answer := get(t, "http://"+web+"/v1/orders/7", header); !strings.Contains(answer, "orders, arm "+arm) {
				t.Errorf("x-canary: %s is answered by %s", header, answer)
			}
		}
		if metrics := get(t, "http://"+admin+"/metrics", ""); !strings.Contains(metrics, "\npithead_build_info{") {
			t.Error("/metrics does not say what was built")
		}
		if os.Getuid() != 0 {
			return // who the process is in its namespace is not to be seen from here
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
		if err != nil || !strings.Contains(string(status), "\nUid:\t65532\t65532\t65532\t65532\n") {
			t.Errorf("the daemon does not run as the image's user: %v\n%s", err, status)
		}
	})
}
