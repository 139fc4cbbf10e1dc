package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// policyOf is the policy of a plain `retry`, changed.
func policyOf(change func(*gateway.Retry)) *gateway.Retry {
	p := &gateway.Retry{
		Attempts: 2,
		On:       gateway.RetryConnectFailure | gateway.RetryReset | gateway.RetryTimeout,
		Statuses: []gateway.StatusRange{{From: 502, To: 504}},
		Methods:  []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"},
		Body:     64 << 10, BackoffBase: 25 * time.Millisecond, BackoffMax: 250 * time.Millisecond,
		Budget: gateway.RetryBudget{Percent: 20, Min: 1000, Window: 10 * time.Second},
	}
	if change != nil {
		change(p)
	}
	return p
}

// counts are the results of retries, those that are not zero.
func counts(c *Cluster) string {
	var all []string
	for _, result := range []string{"ok", "failed", "budget_exhausted", "not_replayable", "no_time"} {
		if n := c.Retries()[result]; n > 0 {
			all = append(all, fmt.Sprintf("%s=%d", result, n))
		}
	}
	return strings.Join(all, " ")
}

// script answers each request with the next of its answers, and with the last
// one from then on. "" closes the connection, "-" says nothing. It reads the
// bodies of the requests.
func script(answers ...string) (handle func(net.Conn), asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return func(conn net.Conn) {
		br := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			answer := answers[min(int(asked.Add(1)), len(answers))-1]
			switch answer {
			case "":
				return
			case "-":
				_, _ = br.ReadByte()
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}, asked
}

func answer(status int, headers ...string) string {
	return fmt.Sprintf("HTTP/1.1 %d Status\r\nContent-Length: 4\r\n%s\r\nbody", status, strings.Join(append(headers, ""), "\r\n"))
}

func TestRetries(t *testing.T) {
	f := func(name, method string, change func(*gateway.Retry), answers []string, attempts int, want, counted string) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			handle, asked := script(answers...)
			c := piped(t, handle, nil)
			r, x := request(t, method, nil)
			x.Retry = policyOf(change)
			resp, err := c.RoundTrip(r)
			got := ""
			if err != nil {
				e := gateway.AsError(err)
				got = fmt.Sprintf("%d %s", e.Status, e.Reason)
			} else {
				got = fmt.Sprint(resp.StatusCode)
				_, _ = read(t, resp)
			}
			if got != want || x.Attempts != attempts || int(asked.Load()) != attempts {
				t.Errorf("got %s in %d attempts, %d arrived; want %s in %d", got, x.Attempts, asked.Load(), want, attempts)
			}
			if got := counts(c); got != counted {
				t.Errorf("counted %q, want %q", got, counted)
			}
			if s := c.Endpoints()[0]; s.Active != 0 || c.opts.Stats.retries.active.Load() != 0 {
				t.Errorf("%d requests and %d retries are still active", s.Active, c.opts.Stats.retries.active.Load())
			}
			if failed := err != nil; x.UpstreamEnd.IsZero() || x.UpstreamHeaders.IsZero() != failed || x.UpstreamEnd.Before(x.UpstreamHeaders) {
				t.Errorf("headers at %v, end at %v", x.UpstreamHeaders, x.UpstreamEnd)
			}
		})
	}
	perTry := func(p *gateway.Retry) { p.PerTry = time.Second }
	f("the first answer is good", "GET", nil, []string{answer(200)}, 1, "200", "")
	f("503 503 200", "GET", nil, []string{answer(503), answer(503), answer(200)}, 3, "200", "ok=1 failed=1")
	f("attempts are used up", "GET", nil, []string{answer(503)}, 3, "503", "failed=2")
	f("the last answer is the client's", "GET", nil, []string{answer(503), answer(502), answer(504)}, 3, "504", "failed=2")
	f("a status that is not listed", "GET", nil, []string{answer(500)}, 1, "500", "")
	f("an answer that is not a failure of ours", "GET", nil, []string{answer(502), answer(404)}, 2, "404", "ok=1")
	f("fault 5: reset, then an answer", "GET", nil, []string{"", answer(200)}, 2, "200", "ok=1")
	f("fault 5: reset of a POST", "POST", nil, []string{"", answer(200)}, 1, "502 upstream_reset", "not_replayable=1")
	f("status of a POST", "POST", nil, []string{answer(503), answer(200)}, 1, "503", "not_replayable=1")
	f("POST if told", "POST", func(p *gateway.Retry) { p.Methods = []string{"POST"} }, []string{"", answer(503), answer(200)}, 3, "200", "ok=1 failed=1")
	f("reset is not listed", "GET", func(p *gateway.Retry) { p.On = gateway.RetryTimeout }, []string{""}, 1, "502 upstream_reset", "")
	f("nonsense is not a reset", "GET", nil, []string{"nonsense\r\n\r\n"}, 1, "502 bad_response", "")
	f("per-try timeout, then an answer", "GET", perTry, []string{"-", answer(200)}, 2, "200", "ok=1")
	f("per-try timeouts only", "GET", perTry, []string{"-"}, 3, "504 upstream_timeout", "failed=2")
	f("no attempts, a per-try timeout", "GET", func(p *gateway.Retry) { p.Attempts, p.PerTry = 0, time.Second }, []string{"-"}, 1, "504 upstream_timeout", "")
	f("the budget is used up", "GET", func(p *gateway.Retry) { p.Budget.Min = 1 }, []string{answer(503)}, 2, "503", "failed=1 budget_exhausted=1")
}

// The waits are random below a term that doubles up to its limit.
func TestBackoff(t *testing.T) {
	r := &rounds{p: policyOf(nil), x: &gateway.Exchange{}, req: httpRequest(t)}
	for n, term := range []time.Duration{25, 50, 100, 200, 250, 250} {
		term *= time.Millisecond
		longest := time.Duration(0)
		for range 1000 {
			d, ok := r.wait(n, nil)
			if !ok || d < 0 || d >= term {
				t.Fatalf("round %d: %v, %v", n, d, ok)
			}
			longest = max(longest, d)
		}
		if longest < term*9/10 {
			t.Errorf("round %d: no wait of %v was longer than %v", n, term, longest)
		}
	}
	if d, ok := r.wait(1<<20, nil); !ok || d >= 250*time.Millisecond {
		t.Errorf("%v, %v after many rounds", d, ok)
	}

	r.p = policyOf(func(p *gateway.Retry) { p.BackoffMin = time.Second })
	asks := &http.Response{Header: http.Header{"Retry-After": {"2"}}}
	for range 100 {
		if d, ok := r.wait(0, nil); !ok || d < time.Second || d >= time.Second+25*time.Millisecond {
			t.Fatalf("%v, %v with a least wait", d, ok)
		}
		if d, ok := r.wait(0, asks); !ok || d < 2*time.Second || d >= 2*time.Second+25*time.Millisecond {
			t.Fatalf("%v, %v with a least wait and an endpoint that asks for more", d, ok)
		}
	}
}

func httpRequest(t *testing.T) *http.Request {
	t.Helper()
	r, _ := request(t, "GET", nil)
	return r
}

func TestRetryAfter(t *testing.T) {
	f := func(name, asked string, timeout time.Duration, status int, atLeast, atMost time.Duration) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			if before, ok := strings.CutPrefix(asked, "date "); ok {
				d, err := time.ParseDuration(before)
				if err != nil {
					t.Fatal(err)
				}
				asked = time.Now().Add(d).UTC().Format(http.TimeFormat)
			}
			handle, _ := script(answer(503, "Retry-After: "+asked), answer(200))
			c := piped(t, handle, nil)
			began := time.Now()
			r, x := request(t, "GET", nil)
			if x.Retry = policyOf(nil); timeout > 0 {
				x.Deadline = began.Add(timeout)
			}
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = read(t, resp)
			if took := time.Since(began); resp.StatusCode != status || took < atLeast || took > atMost {
				t.Errorf("status %d after %v", resp.StatusCode, took)
			}
			if want := map[int]string{200: "ok=1", 503: "no_time=1"}[status]; counts(c) != want {
				t.Errorf("counted %q, want %q", counts(c), want)
			}
		})
	}
	const soon, backoff = time.Duration(0), 25 * time.Millisecond
	f("seconds", "2", 0, 200, 2*time.Second, 2*time.Second+backoff)
	f("a date", "date 3s", 0, 200, 3*time.Second, 3*time.Second+backoff)
	f("a date that has passed", "date -3s", 0, 200, soon, backoff)
	f("nonsense", "later", 0, 200, soon, backoff)
	f("negative", "-5", 0, 200, soon, backoff)
	f("within the timeout", "2", 5*time.Second, 200, 2*time.Second, 2*time.Second+backoff)
	f("longer than the timeout", "2", 2*time.Second, 503, 0, 0)
	f("longer than anybody waits", "31", 0, 503, 0, 0)
	f("longer than a number can hold", "99999999999999999999", 0, 200, soon, backoff)
}

// The client's leaving and the route's timeout end a wait at once.
func TestEndDuringBackoff(t *testing.T) {
	late := &gateway.Error{Status: 504, Reason: "timeout", Cause: gateway.CauseUpstream}
	f := func(name string, end func(context.CancelCauseFunc), status int, reason string, cause gateway.Cause) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			handle, asked := script(answer(503))
			c := piped(t, handle, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			r, x := requestContext(ctx, t, "PUT", nil)
			body := countCloses("body")
			r.Body, r.ContentLength = body, 4
			x.Retry = policyOf(func(p *gateway.Retry) { p.BackoffBase, p.BackoffMax = time.Hour, time.Hour })
			began := time.Now()
			time.AfterFunc(time.Millisecond, func() { end(cancel) })
			_, err := c.RoundTrip(r)
			wantError(t, err, status, reason, cause)
			took(t, began, time.Millisecond)
			synctest.Wait()
			if asked.Load() != 1 || x.Attempts != 1 || body.closed.Load() != 1 {
				t.Errorf("%d attempts, %d arrived, body closed %d times", x.Attempts, asked.Load(), body.closed.Load())
			}
			if !x.UpstreamHeaders.IsZero() {
				t.Error("the head of an answer that was not used counts")
			}
			wantStats(t, c, 1, 0)
		})
	}
	f("fault 45: the client leaves", func(end context.CancelCauseFunc) { end(nil) }, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
	f("the route's timeout", func(end context.CancelCauseFunc) { end(late) }, 504, "timeout", gateway.CauseUpstream)
}

// An attempt under way ends with the client, and is not made again.
func TestNoRetryForAClientThatLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handle, _ := script("-")
		c := piped(t, handle, nil)
		ctx, leave := context.WithCancel(t.Context())
		r, x := requestContext(ctx, t, "GET", nil)
		x.Retry = policyOf(nil)
		time.AfterFunc(time.Second, leave)
		_, err := c.RoundTrip(r)
		wantError(t, err, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
		wantStats(t, c, 1, 0)
		if x.Attempts != 1 || counts(c) != "" {
			t.Errorf("%d attempts, counted %q", x.Attempts, counts(c))
		}
	})
}

// The endpoint that failed is asked again only when there is no other one.
func TestOtherEndpointsFirst(t *testing.T) {
	bad := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	good := serve(t, func(http.ResponseWriter, *http.Request) {}, nil)
	c := start(t, at(serve(t, bad, nil), serve(t, bad, nil), good), nil)
	for range 30 {
		r, x := request(t, "GET", nil)
		x.Retry = policyOf(func(p *gateway.Retry) { p.BackoffBase, p.BackoffMax = 0, 0 })
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = read(t, resp)
		if resp.StatusCode != 200 || x.Endpoint.Addr != good || x.Attempts > 3 {
			t.Fatalf("status %d of %s after %d attempts", resp.StatusCode, x.Endpoint.Addr, x.Attempts)
		}
	}
}

// A discarded answer leaves its connection for the next attempt, unless it is
// long, or long in coming.
func TestDiscardedAnswers(t *testing.T) {
	f := func(name, first string, conns int32) {
		t.Helper()
		bubble(t, name, func(t *testing.T) {
			var dialled atomic.Int32
			handle, _ := script(first, answer(200))
			c := piped(t, func(conn net.Conn) { dialled.Add(1); handle(conn) }, nil)
			r, x := request(t, "GET", nil)
			x.Retry = policyOf(nil)
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := read(t, resp); got != "body" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
			if dialled.Load() != conns {
				t.Errorf("%d connections, want %d", dialled.Load(), conns)
			}
			wantStats(t, c, 2, 0)
		})
	}
	const head = "HTTP/1.1 503 Busy\r\n"
	f("short", answer(503), 1)
	f("chunked", head+"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 1)
	f("without a body", head+"Content-Length: 0\r\n\r\n", 1)
	f("longer than it is worth", head+"Content-Length: 100000\r\n\r\n"+strings.Repeat("x", 100_000), 2)
	f("that never ends", head+"Content-Length: 10\r\n\r\nabc", 2)
	f("longer than it says", head+"Transfer-Encoding: chunked\r\n\r\n1ffff\r\n"+strings.Repeat("x", 0x1ffff)+"\r\n0\r\n\r\n", 2)
}

func TestAllocationsOfAPolicy(t *testing.T) {
	c := start(t, at("10.0.0.1:80"), func(o *Options) {
		o.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }
	})
	measure := func(p *gateway.Retry) float64 {
		r, x := request(t, "GET", http.NoBody)
		x.Retry = p
		return testing.AllocsPerRun(100, func() { _, _ = c.RoundTrip(r) })
	}
	bare, with := measure(nil), measure(policyOf(func(p *gateway.Retry) { p.On = 0 }))
	// The rounds.
	if with > bare+1 && !raceDetector { // under which pools forget on purpose
		t.Errorf("%v allocations without a policy, %v with one", bare, with)
	}
}
