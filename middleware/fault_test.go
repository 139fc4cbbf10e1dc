package middleware_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// faulty sends a request with an ID through a fault.
func faulty(t *testing.T, block, request, id string, h http.HandlerFunc, prepare ...func(*gateway.Exchange)) middlewaretest.Answer {
	t.Helper()
	up := middlewaretest.NewCluster("orders")
	if h != nil {
		up.Handle(h)
	}
	env := middlewaretest.Env(t, up)
	x := &gateway.Exchange{ID: id}
	for _, f := range prepare {
		f(x)
	}
	return middlewaretest.Send(t, env, middlewaretest.Build(t, env, block), middlewaretest.Request(t, request), x)
}

func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for block, least := range map[string]time.Duration{
			"fault: {delay: {fixed: 3s}}": 3 * time.Second, "fault: {delay: {min: 1s, max: 2s}}": time.Second, "fault: {delay: {fixed: 3s, percent: 0}}": 0,
		} {
			begin := time.Now()
			if a := faulty(t, block, "GET /", "one", nil); a.Status != 200 {
				t.Errorf("%s: %d", block, a.Status)
			}
			if took := time.Since(begin); took < least || took > least+time.Second {
				t.Errorf("%s: took %s", block, took)
			}
		}
	})
}

func TestFaultDelayEndsWithTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		x, begin := &gateway.Exchange{ID: "one"}, time.Now()
		step := middlewaretest.Build(t, env, "fault: {delay: {fixed: 10m}}")
		a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /").WithContext(ctx), x)
		if a.Status != gateway.StatusClientClosed || time.Since(begin) != time.Second {
			t.Errorf("%d after %s", a.Status, time.Since(begin))
		}
	})
}

func TestFaultAbort(t *testing.T) {
	a := faulty(t, "fault: {abort: {status: 500}}", "GET /", "one", nil)
	if a.Status != 500 || a.Sent != nil || a.Exchange.Err.Reason != "fault_injected" || a.Exchange.Err.Cause != gateway.CauseGateway {
		t.Errorf("%d, sent %v, %v", a.Status, a.Sent, a.Exchange.Err)
	}
}

// A share is hit, the same requests each time, and those of a small share are among those of a larger one.
func TestFaultShare(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	struck := func(percent string) (hit map[string]bool) {
		hit = make(map[string]bool)
		step := middlewaretest.Build(t, env, "fault: {abort: {percent: "+percent+"}}")
		for i := range 2000 {
			id := "request-" + strconv.Itoa(i)
			hit[id] = middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /"), &gateway.Exchange{ID: id}).Status == 503
		}
		return hit
	}
	few, again, many := struck("10"), struck("10"), struck("30")
	n := 0
	for id := range few {
		if few[id] != again[id] || few[id] && !many[id] {
			t.Fatalf("%s: %t, %t, %t", id, few[id], again[id], many[id])
		}
		if few[id] {
			n++
		}
	}
	if n < 140 || n > 260 {
		t.Errorf("%d of 2000 at 10 percent", n)
	}
}

func TestFaultOnly(t *testing.T) {
	for arm, status := range map[string]int{"canary": 503, "stable": 200} {
		a := faulty(t, "fault: {abort: {}, only: {arms: [canary], upstreams: [orders]}}", "GET /", "one", nil, func(x *gateway.Exchange) { x.Arm = arm })
		if a.Status != status {
			t.Errorf("%s: %d", arm, a.Status)
		}
	}
}

func TestFaultHeaders(t *testing.T) {
	for _, c := range []struct {
		name, block string
		status      int
	}{
		{"an allowed caller", "fault: {headers: {allow_from: [192.0.2.0/24]}}", 418},
		{"another caller", "fault: {headers: {allow_from: [10.0.0.0/8]}}", 200},
		{"nobody", "fault: {delay: {fixed: 1ns}}", 200},
	} {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		middlewaretest.Run(t, env, c.block, []middlewaretest.Case{{
			Name: c.name, Request: "GET /\nX-Fault-Abort: 418", Status: c.status, Reason: map[int]string{418: "fault_injected"}[c.status],
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if a.Sent != nil && a.Sent.Header.Get("X-Fault-Abort") != "" {
					t.Error("the header went upstream")
				}
			},
		}})
	}
}

func TestFaultBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		a := faulty(t, "fault: {bandwidth: {upload: 1KiB, download: 2KiB}}", "POST /\n\n"+strings.Repeat("x", 2048), "one", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(append(body, body...))
		})
		if took := time.Since(begin).Round(100 * time.Millisecond); took != 4*time.Second || len(a.Body) != 4096 {
			t.Errorf("%d bytes after %s", len(a.Body), took)
		}
	})
}

// TestFaultReset: the client of HTTP/1 gets an RST, not an end that looks like one.
func TestFaultReset(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	step := middlewaretest.Build(t, env, "fault: {reset: {}}")
	s := httptest.NewServer(step.Wrap(http.NotFoundHandler()))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }() // reset by then
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFaultMistakes(t *testing.T) {
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
	for block, want := range map[string]string{
		"fault: {}":                                      "does nothing",
		"fault: {delay: {}}":                             "tells no time",
		"fault: {delay: {fixed: 1s, max: 2s}}":           "exclude each other",
		"fault: {abort: {status: 200}}":                  "is not from 400 to 599",
		"fault: {abort: {percent: 101}}":                 "is not from 0 to 100",
		"fault: {bandwidth: {}}":                         "limits nothing",
		"fault: {reset: {}, only: {}}":                   "names nothing",
		"fault: {headers: {}}":                           "allows nobody",
		"fault: {reset: {}, only: {upstreams: [order]}}": `unknown upstream "order"`,
	} {
		if told := strings.Join(middlewaretest.Mistakes(t, env, block), "; "); !strings.Contains(told, want) {
			t.Errorf("%s: %s, want %s", block, told, want)
		}
	}
}
