package admin

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// leftBehind makes a socket that nobody listens on.
func leftBehind(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestListen(t *testing.T) {
	t.Run("tcp", func(t *testing.T) {
		l, err := Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("A21", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "admin.sock")
		leftBehind(t, path)
		l, err := Listen("unix:" + path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("second listener: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if rest, err := os.ReadDir(dir); err != nil || len(rest) > 0 {
			t.Errorf("left behind: %v, %v", rest, err)
		}

		l, err = Listen("unix:" + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		leftBehind(t, path)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("closing removed the socket of another process: %v", err)
		}
	})
	t.Run("A21 what is no socket stays", func(t *testing.T) {
		dir := t.TempDir()
		file, link, sub := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "sub")
		if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Symlink(file, link), os.Mkdir(sub, 0o700)); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, link, sub} {
			if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "not a socket") {
				t.Errorf("%s: %v", path, err)
			}
			if _, err := Dial("unix:"+path, ""); err == nil {
				t.Errorf("dialled %s", path)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("A21 folder for everybody", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen("unix:" + filepath.Join(dir, "s")); err == nil || !strings.Contains(err.Error(), "writable for everybody") {
			t.Error(err)
		}
		if err := os.Chmod(dir, 0o777|fs.ModeSticky); err != nil {
			t.Fatal(err)
		}
		l, err := Listen("unix:" + filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("no folder", func(t *testing.T) {
		if _, err := Listen("unix:" + filepath.Join(t.TempDir(), "no", "s")); !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}

// serve runs the admin API of d and returns its address.
func serve(t *testing.T, d *daemon, address string, token gateway.Secret) string {
	t.Helper()
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(address, unixPrefix) {
		address = l.Addr().String()
	}
	o := d.options()
	o.Address, o.Token = address, token
	s := &http.Server{Handler: handler(t, o)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return address
}

func TestClient(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "admin.sock")} {
		t.Run(address, func(t *testing.T) {
			d := &daemon{generation: 1}
			address := serve(t, d, address, "secret")
			c, err := Dial(address, "secret")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			check := func(want, got any, err error) {
				t.Helper()
				if err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			ctx := t.Context()
			result, err := c.Reload(ctx)
			check(ReloadResult{Generation: 2, Changes: changes}, result, err)
			status, err := c.Status(ctx)
			check(d.status(), status, err)
			gotRoutes, err := c.Routes(ctx)
			check(routes, gotRoutes, err)
			gotEndpoints, err := c.Endpoints(ctx)
			check(endpoints, gotEndpoints, err)
			config, err := c.Config(ctx)
			check("# generation 2, in use since 2026-01-02T03:04:05Z, loaded by: start\nroutes: []\n", string(config), err)
			gotGenerations, err := c.Generations(ctx)
			check(generations, gotGenerations, err)
			explanation, err := c.Explain(ctx, ExplainRequest{URL: "http://h/p", Headers: map[string][]string{"Host": {"other"}}})
			check(Explanation{Request: "GET http://other/p", Route: "orders", Endpoint: "other /p"}, explanation, err)

			d.mu.Lock()
			d.invalid = errors.New(invalidText)
			d.mu.Unlock()
			_, err = c.Reload(ctx)
			if e, ok := errors.AsType[*Error](err); !ok || e.Status != 422 || e.Error() != invalidText {
				t.Errorf("refused reload: %v", err)
			}
			other, err := Dial(address, "wrong")
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if _, err := other.Reload(ctx); err == nil || !strings.Contains(err.Error(), "Bearer") {
				t.Errorf("wrong token: %v", err)
			}
		})
	}
}

func TestClientErrors(t *testing.T) {
	if _, err := Dial("9901", ""); err == nil {
		t.Error("no error for an address without a port")
	}
	if _, err := Dial("unix:"+filepath.Join(t.TempDir(), "s"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	c, err := Dial("127.0.0.1:1", "") // where nobody listens
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "admin API: ") {
		t.Error(err)
	}
}
