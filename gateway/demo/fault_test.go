package demo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// breakable is a service that can be told to fail.
func breakable(t *testing.T) (addr string, ended <-chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		done <- Run(ctx, "orders-1", "stable", "127.0.0.1:0", true, func(addr string) { ready <- addr })
	}()
	t.Cleanup(func() { stop(); <-gone })
	return <-ready, done
}

func tell(t *testing.T, addr, what string) (status int, body string) {
	t.Helper()
	resp, err := http.Post("http://"+addr+"/-/fault", "text/plain", strings.NewReader(what))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// ask sends one request on a connection of its own.
func ask(t *testing.T, addr string, patience time.Duration) (status int, body string, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	client := http.Client{Transport: transport, Timeout: patience}
	resp, err := client.Get("http://" + addr + "/v1/orders/7")
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

func TestFaults(t *testing.T) {
	addr, _ := breakable(t)
	const whole = "orders, arm stable\nGET /v1/orders/7, answered by orders-1\n"
	for _, c := range []struct {
		fault    string
		status   int
		body     string
		err      error
		atLeast  time.Duration
		patience time.Duration
	}{
		{fault: "ok", status: 200, body: whole},
		{fault: "error", status: 500},
		{fault: "slow 50ms", status: 200, body: whole, atLeast: 50 * time.Millisecond},
		{fault: "hang", err: context.DeadlineExceeded, patience: 100 * time.Millisecond},
		{fault: "reset", err: syscall.ECONNRESET},
		{fault: "cut", status: 200, body: whole[:len(whole)/2], err: io.ErrUnexpectedEOF},
		{fault: "drip 1ms", status: 200, body: whole, atLeast: time.Duration(len(whole)) * time.Millisecond},
		{fault: "drip", status: 200, body: whole[:1], err: context.DeadlineExceeded, patience: 2500 * time.Millisecond},
		{fault: "ok", status: 200, body: whole},
	} {
		t.Run(c.fault, func(t *testing.T) {
			if status, body := tell(t, addr, c.fault); status != http.StatusNoContent {
				t.Fatalf("told: %d %s", status, body)
			}
			if c.patience == 0 {
				c.patience = 10 * time.Second
			}
			began := time.Now()
			status, body, err := ask(t, addr, c.patience)
			if c.fault == "drip" && len(body) < 4 && strings.HasPrefix(whole, body) { // one a second, and the first comes at once
				body = body[:min(1, len(body))]
			}
			// A reset that overtakes what was sent before it is all that the client sees.
			overtaken := c.fault == "cut" && errors.Is(err, syscall.ECONNRESET)
			if !overtaken && (status != c.status || body != c.body || !errors.Is(err, c.err)) {
				t.Errorf("got %d %q, error %v", status, body, err)
			}
			if took := time.Since(began); took < c.atLeast {
				t.Errorf("it took %s", took)
			}
		})
	}
	t.Run("health", func(t *testing.T) {
		tell(t, addr, "reset")
		if status, body := get(t, "http://"+addr+"/healthz"); status != 200 || body != "ok\n" {
			t.Errorf("got %d %q", status, body)
		}
	})
	for text, want := range map[string]string{
		"sulk": `unknown fault "sulk"`, "": `unknown fault ""`, "hang 1s": "hang takes no time", "slow soon": `"soon" is not a time`, "slow -1s": `"-1s" is not a time`,
	} {
		if status, body := tell(t, addr, text); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("told %q: %d %q", text, status, body)
		}
	}
}

func TestCrash(t *testing.T) {
	addr, ended := breakable(t)
	if resp, err := http.Post("http://"+addr+"/-/fault", "text/plain", strings.NewReader("crash")); err == nil {
		_ = resp.Body.Close()
		t.Errorf("it had time to answer %d", resp.StatusCode)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "crashed") {
		t.Errorf("it ended with %v", err)
	}
	if _, _, err := ask(t, addr, time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the crash: %v", err)
	}
}

// Only a service that was started for it can be told to fail: those of `pithead demo` are
// behind a gateway that others may reach.
func TestServicesOfTheDemoCannotBeBroken(t *testing.T) {
	all, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Stop(all); err != nil {
			t.Error(err)
		}
	}()
	if status, body := tell(t, all[0].Addr, "hang"); status != http.StatusOK || !strings.Contains(body, "orders, arm stable") {
		t.Errorf("got %d %q", status, body)
	}
}
