package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wires is a network in memory, whose hosts a test can change. A host that has no
// answer refuses connections.
type wires struct {
	mu    sync.Mutex
	hosts map[string]host
	dials map[string]int
}

type host struct {
	answer string // to each request; "" breaks the connection off
	after  time.Duration
}

func (w *wires) set(addr string, h host) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[addr] = h
}

func (w *wires) refuse(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.hosts, addr)
}

func (w *wires) dialled(addr string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[addr]
}

func (w *wires) host(addr string) (h host, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, ok = w.hosts[addr]
	return h, ok
}

func (w *wires) dial(_ context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	w.dials[addr]++
	_, up := w.hosts[addr]
	w.mu.Unlock()
	if !up {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		br := bufio.NewReader(server)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			h, _ := w.host(addr)
			after(h.after)
			if _, err := io.WriteString(server, h.answer); err != nil || h.answer == "" {
				return
			}
		}
	}()
	return client, nil
}

// wired makes a cluster of hosts "a:1", "b:1" and so on that all are well. Each
// request has a connection of its own, so that all find out whether there is one.
func wired(t *testing.T, n int, rules OutlierOptions) (*Cluster, *wires) {
	t.Helper()
	w := &wires{hosts: make(map[string]host), dials: make(map[string]int)}
	var addrs []string
	for i := range n {
		addr := string(rune('a'+i)) + ":1"
		addrs = append(addrs, addr)
		w.set(addr, host{answer: answer(200, "Connection: close")})
	}
	rules.MaxPercent = max(rules.MaxPercent, 50)
	c := start(t, at(addrs...), func(o *Options) { o.Outliers, o.dial = rules, w.dial })
	t.Cleanup(synctest.Wait)
	return c, w
}

// send makes n requests, one after the other, and says how many had no good answer.
func send(t *testing.T, c *Cluster, n int) (failed int) {
	t.Helper()
	for range n {
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			failed++
		}
		if err == nil {
			_, _ = read(t, resp)
		}
	}
	return failed
}

// out are the ejected endpoints and why.
func out(c *Cluster) string {
	synctest.Wait()
	var all []string
	for _, e := range c.Endpoints() {
		if e.Ejected != nil {
			all = append(all, fmt.Sprintf("%s %s %d", e.Addr, e.Ejected.Reason, e.Ejected.Count))
		}
	}
	return strings.Join(all, ", ")
}

func wantOut(t *testing.T, c *Cluster, want string) {
	t.Helper()
	if got := out(c); got != want {
		t.Errorf("ejected are %q, want %q", got, want)
	}
}

func TestEjectsInARow(t *testing.T) {
	f := func(name string, rules OutlierOptions, h host, want string) {
		bubble(t, name, func(t *testing.T) {
			c, w := wired(t, 3, rules)
			w.set("b:1", h)
			send(t, c, 12) // four each
			wantOut(t, c, "")
			send(t, c, 3)
			wantOut(t, c, want)
			if want != "" {
				before := w.dialled("b:1")
				if failed := send(t, c, 100); failed != 0 || w.dialled("b:1") != before {
					t.Errorf("%d failed after it was ejected, and it was dialled %d times", failed, w.dialled("b:1")-before)
				}
			}
		})
	}
	errors5, gateway5 := OutlierOptions{Errors: 5}, OutlierOptions{Gateway: 5}
	status := func(code int) host { return host{answer: answer(code, "Connection: close")} }
	f("500", errors5, status(500), "b:1 consecutive_5xx 1")
	f("599", errors5, status(599), "b:1 consecutive_5xx 1")
	f("503 is a 5xx", errors5, status(503), "b:1 consecutive_5xx 1")
	f("a reset is a 5xx", errors5, host{}, "b:1 consecutive_5xx 1")
	f("501", errors5, status(501), "")
	f("505", errors5, status(505), "")
	f("404", errors5, status(404), "")
	f("429", errors5, status(429), "")
	f("502", gateway5, status(502), "b:1 consecutive_gateway_errors 1")
	f("504", gateway5, status(504), "b:1 consecutive_gateway_errors 1")
	f("a reset", gateway5, host{}, "b:1 consecutive_gateway_errors 1")
	f("an answer that breaks off", gateway5, host{answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"}, "b:1 consecutive_gateway_errors 1")
	f("nonsense", gateway5, host{answer: "nonsense\r\n\r\n"}, "b:1 consecutive_gateway_errors 1")
	f("500 is no gateway error", gateway5, status(500), "")
	f("no rule", OutlierOptions{}, status(500), "")
	f("connect failures alone", OutlierOptions{Connect: 5}, status(503), "")
}

func TestConnectFailuresEject(t *testing.T) {
	bubble(t, "and nobody notices", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{Connect: 5})
		w.refuse("b:1")
		begun := time.Now()
		if failed := send(t, c, 1000); failed != 0 {
			t.Errorf("%d failed", failed)
		}
		wantOut(t, c, "b:1 consecutive_connect_failures 1")
		if n := w.dialled("b:1"); n != 5 || time.Since(begun) > time.Second {
			t.Errorf("it was dialled %d times in %v", n, time.Since(begun))
		}
	})
	bubble(t, "back as soon as it can be connected to", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{Connect: 5})
		w.refuse("b:1")
		send(t, c, 20)
		after(time.Minute)
		if n := w.dialled("b:1"); n < 5+10 || n > 5+20 { // a second, and then more and more
			t.Errorf("it was tried %d times in a minute", n-5)
		}
		wantOut(t, c, "b:1 consecutive_connect_failures 1")
		w.set("b:1", host{answer: answer(200)})
		after(probeLast * 11 / 10)
		wantOut(t, c, "")
	})
	bubble(t, "a restart takes a second", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{Connect: 5})
		w.refuse("b:1")
		send(t, c, 20)
		w.set("b:1", host{answer: answer(200)})
		after(probeFirst * 11 / 10)
		wantOut(t, c, "")
	})
	bubble(t, "an answer between two failures", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{Connect: 5})
		for range 10 {
			w.refuse("b:1")
			send(t, c, 2)
			w.set("b:1", host{answer: answer(404, "Connection: close")})
			send(t, c, 2)
		}
		wantOut(t, c, "")
	})
	// Of two, one is restarted after the other. The first one is still ejected when
	// the second one goes, and takes over from it all the same.
	bubble(t, "the ejected one takes over", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{Connect: 2})
		w.refuse("a:1")
		send(t, c, 10)
		wantOut(t, c, "a:1 consecutive_connect_failures 1")
		w.set("a:1", host{answer: answer(200, "Connection: close")})
		w.refuse("b:1")
		if failed := send(t, c, 100); failed != 0 {
			t.Errorf("%d failed", failed)
		}
		wantOut(t, c, "b:1 consecutive_connect_failures 1")
	})
}

func TestEjectionTimes(t *testing.T) {
	fails := host{answer: answer(500, "Connection: close")}
	bubble(t, "grow to a cap and shrink again", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{Errors: 5, BaseTime: 30 * time.Second, MaxTime: 100 * time.Second})
		w.set("b:1", fails)
		for i, base := range []time.Duration{30 * time.Second, 60 * time.Second, 90 * time.Second, 100 * time.Second, 100 * time.Second} {
			send(t, c, 30)
			wantOut(t, c, fmt.Sprintf("b:1 consecutive_5xx %d", i+1))
			e := c.Endpoints()[1].Ejected
			if d := e.Until.Sub(e.At); d < base*9/10 || d > base*11/10 {
				t.Errorf("ejection %d is %v, want about %v", i+1, d, base)
			}
			after(base * 9 / 10)
			wantOut(t, c, fmt.Sprintf("b:1 consecutive_5xx %d", i+1))
			after(base * 2 / 10)
			wantOut(t, c, "")
		}
		w.set("b:1", host{answer: answer(200, "Connection: close")})
		after(91 * time.Second) // three times the base
		w.set("b:1", fails)
		send(t, c, 30)
		wantOut(t, c, "b:1 consecutive_5xx 3")
	})
	bubble(t, "are kept when the upstream's settings change", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{Errors: 5})
		w.set("b:1", fails)
		send(t, c, 30)
		next := start(t, at("a:1", "b:1", "c:1"), func(o *Options) {
			o.Stats, o.Outliers, o.dial, o.MaxIdle = c.opts.Stats, OutlierOptions{Errors: 7, MaxPercent: 50}, w.dial, 7
		})
		wantOut(t, next, "b:1 consecutive_5xx 1")
		if failed := send(t, next, 30); failed != 0 {
			t.Errorf("%d failed", failed)
		}
		if got := next.Ejections()["consecutive_5xx"]; got != 1 {
			t.Errorf("%d ejections were counted", got)
		}
		off := start(t, at("a:1", "b:1", "c:1"), func(o *Options) { o.Stats, o.dial = c.opts.Stats, w.dial })
		wantOut(t, off, "")
		after(33 * time.Second)
		wantOut(t, next, "")
		wantOut(t, c, "")
	})
	bubble(t, "end in a slow start", func(t *testing.T) {
		weights := new(weigher)
		w := &wires{hosts: map[string]host{"a:1": {answer: answer(200)}, "b:1": fails}, dials: make(map[string]int)}
		c := start(t, at("a:1", "b:1"), func(o *Options) {
			o.Outliers, o.dial, o.Policy, o.SlowStart = OutlierOptions{Errors: 5, MaxPercent: 50}, w.dial, weights.policy, 10*time.Second
		})
		send(t, c, 30)
		weights.want(t, " a:1=1")
		e := c.Endpoints()[1].Ejected
		after(time.Until(e.Until))
		weights.want(t, " a:1=10 b:1=1")
		after(10 * time.Second)
		weights.want(t, " a:1=1 b:1=1")
	})
}

func TestEjectsAShareAtMost(t *testing.T) {
	fails := host{answer: answer(500, "Connection: close")}
	f := func(name string, n, percent, failing, want int) {
		bubble(t, name, func(t *testing.T) {
			c, w := wired(t, n, OutlierOptions{Errors: 5})
			c.opts.Outliers.MaxPercent = percent
			for i := range failing {
				w.set(string(rune('a'+i))+":1", fails)
			}
			send(t, c, 50*n)
			synctest.Wait()
			got := 0
			for _, e := range c.Endpoints() {
				if e.Ejected != nil {
					got++
				}
			}
			if got != want || c.Healthy("") != max(n-want, 1) {
				t.Errorf("%d are ejected, %d are left; want %d to be ejected", got, c.Healthy(""), want)
			}
		})
	}
	f("half of four", 4, 50, 4, 2)
	f("one in any case", 4, 10, 4, 1)
	f("not the only one", 1, 100, 1, 0)
	f("not the last one", 3, 100, 3, 2)
	f("of ten percent of ten", 10, 10, 5, 1)
	f("all that fail", 10, 50, 3, 3)
}

// The last endpoint that checks have left does better than nobody, even if it was
// ejected.
func TestEjectedIsBetterThanNobody(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		w := &wires{hosts: map[string]host{"a:1": {answer: answer(500)}, "b:1": {answer: answer(200)}}, dials: make(map[string]int)}
		c := start(t, at("a:1", "b:1"), func(o *Options) {
			o.Outliers, o.dial = OutlierOptions{Errors: 5, MaxPercent: 50}, w.dial
			o.Health = &HealthOptions{TCP: true, Interval: time.Second, Timeout: time.Second}
		})
		send(t, c, 20)
		wantOut(t, c, "a:1 consecutive_5xx 1")
		w.set("a:1", host{answer: answer(200)})
		w.refuse("b:1")
		after(5 * time.Second)
		if failed := send(t, c, 10); failed != 0 || c.Healthy("") != 1 {
			t.Errorf("%d failed, %d are left", failed, c.Healthy(""))
		}
	})
}

func TestEjectionsAreLogged(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var log strings.Builder
		w := &wires{hosts: map[string]host{"a:1": {answer: answer(200)}, "b:1": {answer: answer(500)}}, dials: make(map[string]int)}
		c := start(t, at("a:1", "b:1"), func(o *Options) {
			o.Outliers, o.dial = OutlierOptions{Errors: 5, MaxPercent: 50}, w.dial
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		send(t, c, 50)
		after(34 * time.Second)
		synctest.Wait()
		for _, want := range []string{`level=WARN msg="endpoint ejected" endpoint=b:1 reason=consecutive_5xx`, `level=INFO msg="endpoint used again" endpoint=b:1`} {
			if n := strings.Count(log.String(), want); n != 1 {
				t.Errorf("%d times in the log: %s\n%s", n, want, log.String())
			}
		}
	})
}
