package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// hedging is a plain policy with a hedge after 50 ms.
func hedging(change func(*gateway.Retry)) *gateway.Retry {
	return policyOf(func(p *gateway.Retry) {
		p.Hedge = &gateway.Hedge{After: 50 * time.Millisecond, Max: 1}
		if change != nil {
			change(p)
		}
	})
}

// asked is what a client and the log see of one request.
type asked struct {
	status   int
	endpoint string
	attempts int
	took     time.Duration
}

func askHedged(t *testing.T, c *Cluster, p *gateway.Retry, change func(*http.Request)) asked {
	t.Helper()
	r, x := request(t, "GET", nil)
	if change != nil {
		change(r)
	}
	x.Retry = p
	begun := time.Now()
	resp, err := c.RoundTrip(r)
	a := asked{took: time.Since(begun), attempts: x.Attempts}
	if x.Endpoint != nil {
		a.endpoint = x.Endpoint.Addr
	}
	if err != nil {
		a.status = gateway.AsError(err).Status
		return a
	}
	if x.UpstreamHeaders.IsZero() {
		t.Error("there is no time of the head")
	}
	a.status = resp.StatusCode
	if _, err := read(t, resp); err != nil {
		t.Errorf("read: %v", err)
	}
	if x.UpstreamEnd.IsZero() || x.UpstreamStart.IsZero() {
		t.Error("there is no time of the beginning or the end")
	}
	return a
}

func hedgeCounts(c *Cluster) string {
	var all []string
	for _, name := range hedgeNames {
		if n := c.Hedges()[name]; n > 0 {
			all = append(all, fmt.Sprintf("%s=%d", name, n))
		}
	}
	return strings.Join(all, " ")
}

// noTrace checks that nothing is left of the attempts that were not used.
func noTrace(t *testing.T, c *Cluster) {
	t.Helper()
	after(10 * time.Second) // the slow services have answered
	synctest.Wait()
	for _, e := range c.Endpoints() {
		if e.Active != 0 || e.Failures != 0 {
			t.Errorf("%s has %d requests on their way and %d failures", e.Addr, e.Active, e.Failures)
		}
	}
	wantIdle(t, c)
}

func TestHedge(t *testing.T) {
	ok := func(d time.Duration) host { return host{answer: answer(200), after: d} }
	f := func(name string, a, b host, want asked, counted string) {
		bubble(t, name, func(t *testing.T) {
			c, w := wired(t, 2, OutlierOptions{Errors: 1, Gateway: 1})
			w.set("b:1", a) // turns begins with the second one
			w.set("a:1", b)
			if got := askHedged(t, c, hedging(nil), nil); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if got := hedgeCounts(c); got != counted {
				t.Errorf("counted %s, want %s", got, counted)
			}
			noTrace(t, c)
			wantOut(t, c, "")
		})
	}
	const ms = time.Millisecond
	f("the first one is fast", ok(10*ms), ok(10*ms), asked{200, "b:1", 1, 10 * ms}, "")
	f("the second one is faster", ok(time.Second), ok(10*ms), asked{200, "a:1", 2, 60 * ms}, "won=1")
	f("the second one is slower", ok(100*ms), ok(time.Second), asked{200, "b:1", 2, 100 * ms}, "lost=1")
	f("statuses are answers", host{answer: answer(404), after: time.Second}, host{answer: answer(404), after: ms}, asked{404, "a:1", 2, 51 * ms}, "won=1")
	f("without a body", host{answer: "HTTP/1.1 204 No Content\r\n\r\n", after: time.Second}, host{answer: "HTTP/1.1 204 No Content\r\n\r\n", after: ms},
		asked{204, "a:1", 2, 51 * ms}, "won=1")
}

func TestHedgeAndFailures(t *testing.T) {
	const ms = time.Millisecond
	bubble(t, "the second one fails", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{})
		w.set("b:1", host{answer: answer(200), after: time.Second})
		w.set("a:1", host{answer: answer(503), after: 10 * ms})
		if got := askHedged(t, c, hedging(nil), nil); got != (asked{200, "b:1", 2, time.Second}) {
			t.Errorf("got %+v", got)
		}
		if got := hedgeCounts(c); got != "lost=1" {
			t.Error(got)
		}
		after(time.Second)
		wantIdle(t, c)
	})
	bubble(t, "the first one fails late", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{})
		w.set("b:1", host{answer: answer(503), after: 60 * ms})
		w.set("a:1", host{answer: answer(200), after: 100 * ms})
		if got := askHedged(t, c, hedging(nil), nil); got != (asked{200, "a:1", 2, 150 * ms}) {
			t.Errorf("got %+v", got)
		}
		wantIdle(t, c)
	})
	bubble(t, "both fail, and a retry helps", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{})
		w.set("b:1", host{answer: answer(503), after: 60 * ms})
		w.set("c:1", host{answer: answer(503), after: 60 * ms})
		if got := askHedged(t, c, hedging(nil), nil); got.status != 200 || got.endpoint != "a:1" || got.attempts != 3 {
			t.Errorf("got %+v", got)
		}
		wantIdle(t, c)
	})
	bubble(t, "the first one cannot be reached", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{})
		w.refuse("b:1")
		w.set("c:1", host{answer: answer(200), after: time.Second})
		if got := askHedged(t, c, hedging(nil), nil); got.status != 200 || got.endpoint != "a:1" || got.took != 50*ms {
			t.Errorf("got %+v", got)
		}
		after(time.Second)
		wantIdle(t, c)
	})
	bubble(t, "nobody can be reached", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{})
		for _, addr := range []string{"a:1", "b:1", "c:1"} {
			w.refuse(addr)
		}
		if got := askHedged(t, c, hedging(func(p *gateway.Retry) { p.Attempts = 0 }), nil); got.status != 503 || got.attempts != 3 {
			t.Errorf("got %+v", got)
		}
		wantIdle(t, c)
	})
	bubble(t, "the client leaves", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{Errors: 1})
		w.set("a:1", host{answer: answer(200), after: time.Second})
		w.set("b:1", host{answer: answer(200), after: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*ms, cancel)
		got := askHedged(t, c, hedging(nil), func(r *http.Request) { *r = *r.WithContext(merged{r.Context(), ctx}) })
		if got.status != gateway.StatusClientClosed || got.attempts != 2 || got.took != 100*ms {
			t.Errorf("got %+v", got)
		}
		noTrace(t, c)
		wantOut(t, c, "")
	})
}

// merged has the values of one context and the end of another.
type merged struct {
	context.Context
	end context.Context
}

func (m merged) Done() <-chan struct{} { return m.end.Done() }
func (m merged) Err() error            { return m.end.Err() }

// Which requests never have a second attempt beside them.
func TestHedgeIsForFew(t *testing.T) {
	f := func(name string, change func(*http.Request)) {
		bubble(t, name, func(t *testing.T) {
			c, w := wired(t, 2, OutlierOptions{})
			w.set("a:1", host{answer: answer(200), after: time.Second})
			w.set("b:1", host{answer: answer(200), after: time.Second})
			if got := askHedged(t, c, hedging(nil), change); got.attempts != 1 || got.took != time.Second {
				t.Errorf("got %+v", got)
			}
		})
	}
	f("a POST", func(r *http.Request) { r.Method = "POST" })
	f("a body", func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(strings.NewReader("body")), 4
	})
	f("events", func(r *http.Request) { r.Header.Set("Accept", "text/event-stream") })
	f("an upgrade", func(r *http.Request) { r.Header.Set("Connection", "Upgrade"); r.Header.Set("Upgrade", "websocket") })
	bubble(t, "the only endpoint", func(t *testing.T) {
		c, w := wired(t, 1, OutlierOptions{})
		w.set("a:1", host{answer: answer(200), after: time.Second})
		if got := askHedged(t, c, hedging(nil), nil); got.attempts != 1 || hedgeCounts(c) != "no_endpoint=1" {
			t.Errorf("got %+v, %s", got, hedgeCounts(c))
		}
	})
	bubble(t, "beyond the budget", func(t *testing.T) {
		c, w := wired(t, 2, OutlierOptions{})
		w.set("a:1", host{answer: answer(200), after: time.Second})
		w.set("b:1", host{answer: answer(200), after: time.Second})
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				askHedged(t, c, hedging(func(p *gateway.Retry) { p.Budget.Min, p.Budget.Percent = 0, 20 }), nil)
			})
		}
		clients.Wait()
		if got := hedgeCounts(c); got != "lost=20 budget_exhausted=80" {
			t.Error(got)
		}
		noTrace(t, c)
	})
}

// The live quantile: of a service that answers in 20 ms, but 500 ms once in
// fifty times, nearly nobody waits for those.
func TestHedgeAfterQuantile(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{})
		p := hedging(func(p *gateway.Retry) {
			p.Hedge = &gateway.Hedge{Share: 0.95, Least: 10 * time.Millisecond, Max: 1}
			p.Budget.Min, p.Budget.Percent = 3, 20
		})
		var worst time.Duration
		for i := range 1000 {
			for _, addr := range []string{"a:1", "b:1", "c:1"} {
				w.set(addr, host{answer: answer(200), after: 20 * time.Millisecond})
			}
			if i%50 >= 47 { // one of these goes there
				w.set("a:1", host{answer: answer(200), after: 500 * time.Millisecond})
			}
			if got := askHedged(t, c, p, nil); i > 200 {
				worst = max(worst, got.took)
			}
		}
		if worst > 60*time.Millisecond {
			t.Errorf("the slowest answer took %v", worst)
		}
		if won := c.Hedges()["won"]; won < 2 || won > 40 {
			t.Errorf("%s", hedgeCounts(c))
		}
		noTrace(t, c)
	})
}

// When everything becomes slow, there must not be a second attempt beside each one.
func TestHedgeWhenAllAreSlow(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, w := wired(t, 3, OutlierOptions{})
		p := hedging(func(p *gateway.Retry) {
			p.Hedge = &gateway.Hedge{Share: 0.95, Least: 10 * time.Millisecond, Max: 1}
			p.Budget.Min, p.Budget.Percent = 3, 20
		})
		attempts := 0
		for i := range 600 {
			took := 20 * time.Millisecond
			if i >= 300 {
				took = 300 * time.Millisecond
			}
			for _, addr := range []string{"a:1", "b:1", "c:1"} {
				w.set(addr, host{answer: answer(200), after: took})
			}
			if got := askHedged(t, c, p, nil); i >= 500 {
				attempts += got.attempts
			}
		}
		if attempts > 105 {
			t.Errorf("%d attempts for 100 requests once everybody was known to be slow", attempts)
		}
	})
}
