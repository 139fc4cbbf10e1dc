package server

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/config"
)

// withAdmin gives a house an admin listener whose handler shows the token.
func withAdmin(h *house) (addr func() string) {
	var ln net.Listener
	h.opt.ListenAdmin = func(string) (_ net.Listener, err error) {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
		return ln, err
	}
	h.opt.Admin = func(s *Server, c *config.Config) (http.Handler, error) {
		token := c.Admin.Token.Reveal()
		if token == "refused" {
			return nil, errors.New("this token will not do")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/panic":
				panic("oh")
			case "/ready":
				if ok, _ := s.Ready(); !ok {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			}
			_, _ = io.WriteString(w, token)
		}), nil
	}
	return func() string { return "http://" + ln.Addr().String() }
}

func TestAdminDoor(t *testing.T) {
	with := func(token string) string {
		return settings(1, web+"admin: {token: "+token+"}\nshutdown: {delay: 1h, lame_duck: 0s, grace: 5s}\n")
	}
	h := prepare(t, with("one"), say("hello"))
	addr := withAdmin(h)
	h.open()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	want := func(path string, status int, body string) {
		t.Helper()
		got, text, err := fetch(client, addr()+path)
		if err != nil || got != status || !strings.Contains(text, body) {
			t.Errorf("%s: %d %q %v, want %d %q", path, got, text, err, status, body)
		}
	}
	want("/", 200, "one")
	want("/panic", 500, "internal error")
	if err := h.edit(with("two")); err != nil {
		t.Fatal(err)
	}
	want("/", 200, "two")
	if err := h.edit(with("refused")); err == nil || !strings.Contains(err.Error(), "pithead.yaml:") {
		t.Errorf("Reload: %v", err)
	}
	want("/ready", 200, "two")
	h.stop()
	h.log.wait(t, "shutting down", 1)
	want("/ready", 503, "two") // while the listener is still open
	h.wantGet("hello")
	h.Hurry()
	h.wait()
	if _, _, err := fetch(client, addr()); err == nil {
		t.Error("the admin listener is still open")
	}
}

func TestAdminAddressInUse(t *testing.T) {
	h := prepare(t, settings(1, web), say("hello"))
	withAdmin(h)
	h.opt.ListenAdmin = func(string) (net.Listener, error) { return nil, errors.New("address in use") }
	if err := h.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address in use") {
		t.Errorf("Run: %v", err)
	}
}
