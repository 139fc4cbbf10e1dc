package build

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// flaky fails as the path of a request says, until it has been asked often
// enough: /503/2 is an answer 503 to the first two requests, /hang/1 none to the
// first, /cut/1 a broken connection.
func flaky(t *testing.T) (addr string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var how string
		var times int64
		_, _ = fmt.Sscanf(strings.ReplaceAll(r.URL.Path, "/", " "), "%s %d", &how, &times)
		body, _ := io.ReadAll(r.Body)
		if asked.Add(1) > times {
			w.Header().Set("X-Answer", "whole")
			_, _ = w.Write(body)
			return
		}
		switch how {
		case "hang":
			<-r.Context().Done()
		case "cut":
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("X-Broken", "yes")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("sorry"))
		}
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), asked
}

const retryConfig = `
upstreams:
  app: {discover: {static: {targets: [%q]}}}
routes:
  - {name: plain, match: {host: plain.test, prefix: /}, use: [retry: {per_try_timeout: 1500ms}], to: app}
  - {name: request, match: {host: request.test, prefix: /}, timeout: 1s, use: [retry], to: app}
  - {name: backend, match: {host: backend.test, prefix: /}, use: [retry: {attempts: 0, per_try_timeout: 1s}], to: app}
  - {name: none, match: {host: none.test, prefix: /}, to: app}
`

// Through the proxy core, as a client sees it.
func TestRetriesOfARoute(t *testing.T) {
	f := func(name, request string, status int, reason, body string, attempts int64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := newProcess(t)
			addr, asked := flaky(t)
			front := p.serve(p.start(fmt.Sprintf(retryConfig, addr)), "web")
			a := front.ask(t, request)
			wantReason(t, a, status, reason)
			if body != "" && a.body != body {
				t.Errorf("body %q, want %q", a.body, body)
			}
			if asked.Load() != attempts || int64(a.x.Attempts) != attempts {
				t.Errorf("%d arrived, the exchange says %d, want %d", asked.Load(), a.x.Attempts, attempts)
			}
			if status == http.StatusOK && (a.header.Get("X-Answer") == "" || a.header.Get("X-Broken") != "") {
				t.Errorf("header %v", a.header)
			}
			if n := a.x.Endpoint.Stats.Active.Load(); n != 0 {
				t.Errorf("%d requests are active", n)
			}
		})
	}
	f("503 503 200", "GET http://plain.test/503/2", 200, "", "", 3)
	f("a body", "PUT http://plain.test/503/2\n\nthe whole body", 200, "", "the whole body", 3)
	f("a body in chunks", "PUT http://plain.test/503/1\nTransfer-Encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n", 200, "", "abc", 2)
	f("N6 a reset", "GET http://plain.test/cut/1", 200, "", "", 2)
	f("a reset with a body", "PUT http://plain.test/cut/1\n\nthe whole body", 200, "", "the whole body", 2)
	f("a per-try timeout", "GET http://plain.test/hang/1", 200, "", "", 2)
	f("POST", "POST http://plain.test/503/1\n\nbody", 503, "", "sorry", 1)
	f("HTTPRouteTimeoutRequest", "GET http://request.test/hang/9", 504, "timeout", "", 1)
	f("HTTPRouteTimeoutBackendRequest", "GET http://backend.test/hang/9", 504, "upstream_timeout", "", 1)
	f("without a policy", "GET http://none.test/503/1", 503, "", "sorry", 1)
}

// What an upstream knows of its retries outlives a reload that changes it.
func TestRetriesOutliveAReload(t *testing.T) {
	p := newProcess(t)
	addr, _ := flaky(t)
	text := fmt.Sprintf(retryConfig, addr)
	first := p.start(text)
	front := p.serve(first, "web")
	_ = front.ask(t, "GET http://plain.test/503/1")
	second := p.start(strings.Replace(text, "app: {", "app: {max_idle: 7, ", 1))
	if old, now := first.Clusters()[0], second.Clusters()[0]; old == now || now.Retries()["ok"] != 1 {
		t.Errorf("same cluster %v, retries %v", old == now, now.Retries())
	}
}

func TestRetriesAreExplained(t *testing.T) {
	p := newProcess(t)
	snap := p.start(fmt.Sprintf(retryConfig, "127.0.0.1:1"))
	got := explain(t, snap, "POST", "http://plain.test/").Steps
	want := "retry: up to 2 more attempts on connect_failure, reset, timeout, 502-504; each attempt within 1.5s; "
	if len(got) != 1 || !strings.HasPrefix(got[0], want) || !strings.HasSuffix(got[0], "; POST only while nothing of it has left") {
		t.Errorf("%q", got)
	}
}
