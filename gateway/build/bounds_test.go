package build

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

// bounded runs a request with an exchange through withBounds.
func bounded(next http.HandlerFunc, r *http.Request, timeout time.Duration) (*httptest.ResponseRecorder, *gateway.Exchange) {
	x := &gateway.Exchange{}
	w := httptest.NewRecorder()
	withBounds(next, &config.Route{Timeout: timeout, BodyLimit: 10}).ServeHTTP(w, gateway.WithExchange(r, x))
	return w, x
}

// hour is an answer that takes an hour, unless the request ends before. It says
// how long it took, and why it ended.
func hour(before func(r *http.Request)) (handler http.HandlerFunc, took *time.Duration, cause *error) {
	took, cause = new(time.Duration), new(error)
	return func(_ http.ResponseWriter, r *http.Request) {
		if before != nil {
			before(r)
		}
		began := time.Now()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Hour):
		}
		*took, *cause = time.Since(began), context.Cause(r.Context())
	}, took, cause
}

func TestTimeout(t *testing.T) {
	const timeout = 5 * time.Minute
	f := func(name string, change func(*http.Request), before func(*http.Request), want time.Duration) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				t.Helper()
				r := httptest.NewRequest("GET", "/", nil)
				if change != nil {
					change(r)
				}
				handler, took, cause := hour(before)
				bounded(handler, r, timeout)
				if *took != want {
					t.Errorf("it took %s, want %s", *took, want)
				}
				if e, ok := errors.AsType[*gateway.Error](*cause); (want == timeout) != ok || ok && e.Status != 504 {
					t.Errorf("it ended by %v", *cause)
				}
			})
		})
	}
	body := func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), 1 }
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	streaming := func(r *http.Request) { gateway.ExchangeOf(r).Streaming() }
	events, upgrade := header("Accept", "text/event-stream"), header("Upgrade", "websocket")
	f("a plain request", nil, nil, timeout)
	f("an answer that is a stream", nil, streaming, time.Hour)
	f("events", events, nil, time.Hour)
	f("an upgrade", upgrade, nil, time.Hour)
	f("gRPC", func(r *http.Request) {
		r.ProtoMajor, r.ProtoMinor, r.ContentLength = 2, 0, -1
		r.Header.Set("Content-Type", "application/grpc")
	}, nil, time.Hour)
	f("gRPC over HTTP/1.1 is none", header("Content-Type", "application/grpc"), nil, timeout)
	f("a body that claims to ask for events", func(r *http.Request) { events(r); body(r) }, nil, timeout)
	f("a body that claims to ask for an upgrade", func(r *http.Request) { upgrade(r); body(r) }, nil, timeout)
	f("a chunked body that claims so", func(r *http.Request) { events(r); body(r); r.ContentLength = -1 }, nil, timeout)
	f("a body, and an answer that is a stream", func(r *http.Request) { events(r); body(r) }, streaming, time.Hour)
}

func TestNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, took, _ := hour(nil)
		_, x := bounded(handler, httptest.NewRequest("GET", "/", nil), 0)
		if *took != time.Hour || !x.Deadline.IsZero() {
			t.Errorf("it took %s, to end by %s", *took, x.Deadline)
		}
	})
}

// Nothing is left behind when a handler panics: no timer that ends what comes
// after, no context without an end.
func TestBoundsAndPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inner context.Context
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("recovered %v", v)
				}
			}()
			bounded(func(_ http.ResponseWriter, r *http.Request) { inner = r.Context(); panic("boom") },
				httptest.NewRequest("GET", "/", nil), time.Minute)
		}()
		if inner.Err() == nil {
			t.Error("the context goes on")
		}
		<-time.After(time.Hour)
		if cause := context.Cause(inner); !errors.Is(cause, context.Canceled) {
			t.Errorf("the timer went on: %v", cause)
		}
	})
}

// The client's own end is not the route's timeout.
func TestBoundsAndTheClientsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		handler, took, cause := hour(nil)
		bounded(handler, httptest.NewRequestWithContext(ctx, "GET", "/", nil), time.Minute)
		if *took != time.Second || !errors.Is(*cause, context.DeadlineExceeded) {
			t.Errorf("it ended after %s by %v", *took, *cause)
		}
	})
}

func TestBoundsOfBodies(t *testing.T) {
	f := func(name string, length int64, body string, wantStatus int, wantRead string, wantErr bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			r := httptest.NewRequest("POST", "/", strings.NewReader(body))
			r.ContentLength = length
			called, read, readErr := false, "", error(nil)
			w, x := bounded(func(_ http.ResponseWriter, r *http.Request) {
				called = true
				b, err := io.ReadAll(r.Body)
				read, readErr = string(b), err
			}, r, time.Minute)
			if w.Code != wantStatus || called != (wantStatus == 200) || read != wantRead || (readErr != nil) != wantErr {
				t.Errorf("got %d, called: %t, read %q, %v", w.Code, called, read, readErr)
			}
			if _, ok := errors.AsType[*http.MaxBytesError](readErr); wantErr && !ok {
				t.Errorf("the error is a %T", readErr)
			}
			if wantStatus == 413 && (x.Err.Reason != "body_too_large" || x.Err.Cause != gateway.CauseClient) {
				t.Errorf("the exchange says %v", x.Err)
			}
		})
	}
	f("none", 0, "", 200, "", false)
	f("at the limit", 10, "0123456789", 200, "0123456789", false)
	f("over it", 11, "0123456789A", 413, "", false)
	f("far over it", 1<<62, "", 413, "", false)
	f("unknown, at the limit", -1, "0123456789", 200, "0123456789", false)
	f("unknown, over it", -1, "0123456789A", 200, "0123456789", true)
	t.Run("gRPC has none", func(t *testing.T) {
		r := httptest.NewRequest("POST", "/", strings.NewReader("0123456789A"))
		r.ProtoMajor, r.ContentLength = 2, -1
		r.Header.Set("Content-Type", "application/grpc+proto")
		bounded(func(_ http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); len(b) != 11 || err != nil {
				t.Errorf("read %q, %v", b, err)
			}
		}, r, time.Minute)
	})
}

func TestBoundsAllocations(t *testing.T) {
	if raceEnabled {
		return
	}
	h := withBounds(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), &config.Route{Timeout: time.Minute, BodyLimit: 10})
	r := gateway.WithExchange(httptest.NewRequest("GET", "/", nil), &gateway.Exchange{})
	w := httptest.NewRecorder()
	// The context, its timer with what it calls, what lifts it, the copy of the
	// request, and the handler's hold on all that.
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n > 6 {
		t.Errorf("%v allocations", n)
	}
}
