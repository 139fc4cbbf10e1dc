package server

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// whole is a house with nothing fake in it but the upstream.
func whole(t *testing.T, upstream http.HandlerFunc, route string) *house {
	return wholeBehind(t, upstream, route, web)
}

// wholeBehind is whole with listeners of its own.
func wholeBehind(t *testing.T, upstream http.HandlerFunc, route, listeners string) *house {
	origin := httptest.NewServer(upstream)
	t.Cleanup(origin.Close)
	text := fmt.Sprintf(`access_log: {output: "off"}
reload: {debounce: 20ms, poll: 100ms}
upstreams: {u: {discover: {static: {targets: [%q]}}}}
routes: [{name: r, match: {prefix: /}, to: u%s}]
`, strings.TrimPrefix(origin.URL, "http://"), route)
	h := prepare(t, text+listeners+ending, nil)
	h.compile = h.compileWhole
	return h.open()
}

func TestWholeWay(t *testing.T) {
	h := whole(t, say("hello from upstream"), "")
	if h.Snapshot() == nil {
		t.Fatal("no snapshot")
	}
	h.wantGet("hello from upstream")
	for range 3 {
		if _, err := h.Reload(t.Context(), TriggerSignal); err != nil {
			t.Fatal(err)
		}
		h.wantGet("hello from upstream")
	}
	h.stop()
	h.wait()
	h.wantMetric(
		`pithead_requests_in_flight{route="r"} 0`,
		`pithead_requests_total{arm="",code="200",method="GET",route="r",upstream="u"} 4`,
		`pithead_config_generation 4`,
		`pithead_reloads_total{result="success",trigger="signal"} 3`,
		`pithead_reloads_total{result="success",trigger="start"} 1`,
	)
	if n := h.pool.Len(); n != 0 {
		t.Errorf("%d values are still kept", n)
	}
}

func TestBodyLimits(t *testing.T) {
	var seen atomic.Int64
	h := whole(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	}, ", body_limit: 1KiB")
	f := func(name, head, body string, upstream int64) {
		t.Run(name, func(t *testing.T) {
			seen.Store(0)
			c := dial(t, h.Addrs()["web"])
			_ = c.SetDeadline(time.Now().Add(patience))
			go func() { _, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+head+"\r\n\r\n"+body) }()
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
				t.Fatalf("%v %v", resp, err)
			}
			if got := seen.Load(); got > upstream {
				t.Errorf("the upstream saw %d requests", got)
			}
		})
	}
	f("S06: a length over the limit", "Content-Length: 1025", "", 0)
	f("S07: chunks over the limit", "Transfer-Encoding: chunked", "400\r\n"+strings.Repeat("a", 1024)+"\r\n1\r\na\r\n0\r\n\r\n", 1)
}
