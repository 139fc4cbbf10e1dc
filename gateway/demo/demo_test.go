package demo

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/configs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		t.Errorf("%s is %s", url, ct)
	}
	return resp.StatusCode, string(text)
}

func TestServices(t *testing.T) {
	all, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, arm, env string }{
		{"stable-1", "stable", "DEMO_STABLE_1"}, {"stable-2", "stable", "DEMO_STABLE_2"}, {"canary-1", "canary", "DEMO_CANARY_1"},
	}
	if len(all) != len(want) {
		t.Fatalf("%d services", len(all))
	}
	yaml, err := configs.Files.ReadFile("demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			if s.Name != want[i].name || s.Arm != want[i].arm || s.Env() != want[i].env {
				t.Errorf("it is %s, %s, %s", s.Name, s.Arm, s.Env())
			}
			if !strings.Contains(string(yaml), "${"+s.Env()+":-") {
				t.Errorf("demo.yaml does not know %s", s.Env())
			}
			if host, _, err := net.SplitHostPort(s.Addr); host != "127.0.0.1" || err != nil {
				t.Errorf("it listens on %s, for others too", s.Addr)
			}
			status, body := get(t, "http://"+s.Addr+"/v1/orders/7?q=<b>")
			if text := fmt.Sprintf("orders, arm %s\nGET /v1/orders/7, answered by %s\n", s.Arm, s.Name); status != 200 || body != text {
				t.Errorf("got %d %q", status, body)
			}
			if status, body := get(t, "http://"+s.Addr+"/healthz"); status != 200 || body != "ok\n" {
				t.Errorf("its health is %d %q", status, body)
			}
		})
	}
	if err := Stop(all); err != nil {
		t.Error(err)
	}
	for _, s := range all {
		conn, err := net.Dial("tcp", s.Addr)
		if err == nil {
			conn.Close()
			t.Errorf("%s still listens", s.Name)
		}
	}
}

// A client that keeps its request open does not keep the demo from ending.
func TestStopIsBounded(t *testing.T) {
	all, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", all[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := Stop(all); err != nil {
		t.Error(err)
	}
}
