package middleware_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// hang answers nothing before the copy is given up.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// endless is the body of an answer that never ends. It counts what is read.
type endless struct {
	read   int
	closed bool
}

func (e *endless) Read(p []byte) (int, error) { e.read += len(p); return len(p), nil }
func (e *endless) Close() error               { e.closed = true; return nil }

// Whatever the upstream of the copies does, the request is answered at once.
func TestMirrorHarmless(t *testing.T) {
	f := func(name, result string, after time.Duration, answer func(*http.Request) (*http.Response, error)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t).readAll()
				m.shadow.answer = answer
				begin := time.Now()
				a := send(t, m.env, middlewaretest.Build(t, m.env, "mirror: {to: shadow, timeout: 3s}"), "POST /x\n\nhello", &gateway.Exchange{})
				if a.Status != http.StatusOK || a.Body != "hello" || a.Exchange.Err != nil || time.Since(begin) != 0 {
					t.Errorf("the request itself: %d %q after %v, %v", a.Status, a.Body, time.Since(begin), a.Exchange.Err)
				}
				if <-time.After(after); m.results() != "" {
					t.Errorf("after %v: counted %q", after, m.results())
				}
				<-time.After(time.Millisecond)
				if m.results() != result {
					t.Errorf("counted %q, want %q", m.results(), result)
				}
			})
		})
	}
	f("hangs", "timeout 1", 3*time.Second-time.Microsecond, hang)
	f("is slow", "answered 1", 2*time.Second-time.Microsecond, func(*http.Request) (*http.Response, error) {
		<-time.After(2 * time.Second)
		return &http.Response{StatusCode: 500, Body: http.NoBody}, nil
	})
	f("fails", "failed 1", time.Second-time.Microsecond, func(*http.Request) (*http.Response, error) {
		<-time.After(time.Second)
		return nil, &gateway.Error{Status: 503, Reason: "connect_failed", Cause: gateway.CauseNetwork, Err: errors.New("refused")}
	})
	f("panics", "failed 1", time.Second-time.Microsecond, func(*http.Request) (*http.Response, error) {
		<-time.After(time.Second)
		panic("a bug")
	})
}

// An answer is read a little way, for the sake of the connection.
func TestMirrorAnswerIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, body := newMirrored(t), new(endless)
		m.shadow.answer = func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200, Body: body}, nil }
		m.send(t, "mirror: {to: shadow}", "GET /x")
		if body.read > 128<<10 || !body.closed || m.results() != "answered 1" {
			t.Errorf("read %d bytes, closed %v, counted %q", body.read, body.closed, m.results())
		}
	})
}

// To see this fail, begin the copy without asking for room.
func TestMirrorLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMirrored(t)
		m.shadow.answer = hang
		step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, max_in_flight: 2, timeout: 1s}")
		ask := func(n int) {
			for range n {
				if a := send(t, m.env, step, "GET /x", &gateway.Exchange{}); a.Status != http.StatusOK {
					t.Errorf("status %d", a.Status)
				}
			}
		}
		if ask(5); m.results() != "dropped 3" {
			t.Errorf("counted %q", m.results())
		}
		<-time.After(time.Second + time.Millisecond)
		if ask(3); m.results() != "dropped 4 timeout 2" {
			t.Errorf("counted %q", m.results())
		}
		<-time.After(time.Second + time.Millisecond)
		if m.results() != "dropped 4 timeout 4" {
			t.Errorf("in the end counted %q", m.results())
		}
	})
}

// A body that nobody reads to its end gives its room back, at the end of the
// request at the latest.
func TestMirrorUnreadBody(t *testing.T) {
	f := func(name string, orders http.HandlerFunc, body io.Reader) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMirrored(t)
				m.orders.Handle(orders)
				step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, max_in_flight: 1}")
				for range 3 {
					r := middlewaretest.Request(t, "POST /x")
					r.Body, r.ContentLength = io.NopCloser(body), -1
					middlewaretest.Send(t, m.env, step, r, &gateway.Exchange{})
				}
				if m.results() != "incomplete 3" {
					t.Errorf("counted %q", m.results())
				}
			})
		})
	}
	f("not at all", nothing, bytes.NewReader(make([]byte, 10)))
	f("a little", func(_ http.ResponseWriter, r *http.Request) { _, _ = r.Body.Read(make([]byte, 1)) }, bytes.NewReader(make([]byte, 10)))
	f("the client breaks off", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, failing{})
	f("closed", func(_ http.ResponseWriter, r *http.Request) { _ = r.Body.Close() }, bytes.NewReader(make([]byte, 10)))
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("reset") }

// A transport may still read while the request ends.
func TestMirrorBodyRace(t *testing.T) {
	m := newMirrored(t)
	var late sync.WaitGroup
	m.orders.Handle(func(_ http.ResponseWriter, r *http.Request) {
		late.Go(func() { _, _ = io.Copy(io.Discard, r.Body) })
	})
	step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, max_in_flight: 1000}")
	for range 200 {
		send(t, m.env, step, "POST /x\n\n"+string(make([]byte, 4000)), &gateway.Exchange{})
	}
	late.Wait()
}

// Copies end with the block, and a request that is late on an old snapshot makes
// none.
func TestMirrorEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, pool := newMirrored(t), keep.NewPool()
		m.shadow.answer = hang
		build := func() (gateway.Step, *keep.Scope) {
			m.env.Keep = pool.Scope()
			return middlewaretest.Build(t, m.env, "mirror: {to: shadow, timeout: 1h}"), m.env.Keep
		}
		old, first := build()
		send(t, m.env, old, "GET /x", &gateway.Exchange{})
		_, second := build()
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if synctest.Wait(); m.results() != "" {
			t.Errorf("a reload that keeps the block: counted %q", m.results())
		}
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if synctest.Wait(); m.results() != "failed 1" {
			t.Errorf("a reload without the block: counted %q", m.results())
		}
		if send(t, m.env, old, "GET /x", &gateway.Exchange{}); m.results() != "dropped 1 failed 1" {
			t.Errorf("late: counted %q", m.results())
		}
	})
}

func TestMirrorGoroutines(t *testing.T) {
	const n = 50
	t.Run("S12", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := newMirrored(t)
			m.shadow.answer = hang
			step := middlewaretest.Build(t, m.env, "mirror: {to: shadow, timeout: 1s}")
			base := runtime.NumGoroutine()
			for range n {
				send(t, m.env, step, "GET /x", &gateway.Exchange{})
				send(t, m.env, step, "GET /x\nConnection: upgrade\nUpgrade: websocket", &gateway.Exchange{})
			}
			synctest.Wait()
			if more := runtime.NumGoroutine() - base; more > n {
				t.Errorf("%d requests and %d upgrades have %d goroutines more", n, n, more)
			}
			<-time.After(2 * time.Second)
			if more := runtime.NumGoroutine() - base; more > 1 {
				t.Errorf("%d goroutines more than before", more)
			}
		})
	})
}
