package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pithead/pithead/gateway/overload"
)

// press puts the server under a pressure that the test sets, in per cent.
func (h *house) press(percent *atomic.Int64) {
	h.pressure.Follow([]overload.Source{{
		Name: "memory", Margin: 0.03, Bounds: overload.Bounds{0.90, 0.95, 0.98},
		Read: func() (float64, bool) { return float64(percent.Load()) / 100, true },
	}})
}

// Fault 38: under pressure the gateway first ends connections, then refuses requests,
// then accepts no connections, and comes back.
func TestFault38OverloadSteps(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	var percent atomic.Int64
	h.press(&percent)
	client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer client.CloseIdleConnections()
	ask := func(want int, last bool) {
		t.Helper()
		resp, err := client.Get("http://" + h.addr() + "/")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
		if resp.StatusCode != want || resp.Close != last {
			t.Errorf("%d, the last answer of its connection: %t", resp.StatusCode, resp.Close)
		}
		if want == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	ask(200, false)
	percent.Store(90)
	h.log.wait(t, "step=close", 1)
	ask(200, true)
	percent.Store(0)
	h.log.wait(t, "step=normal", 1)
	ask(200, false) // leaves a connection open

	percent.Store(99)
	h.log.wait(t, "step=stop", 1)
	ask(503, true)
	if _, _, err := h.get("/"); err == nil {
		t.Error("a new connection was accepted")
	}
	percent.Store(0)
	h.log.wait(t, "step=shed", 1)
	if _, _, err := h.get("/"); err != nil {
		t.Errorf("connections are to be accepted again: %v", err)
	}
	text := h.scrape()
	for _, line := range []string{"pithead_overload_step 2", `pithead_connections_refused_total{listener="web",reason="overload"} 1`, `pithead_overload_pressure{resource="memory"} 0`} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %s in the metrics", line)
		}
	}
}

// The settings of the file say what is watched, and a reload changes it.
func TestOverloadSettings(t *testing.T) {
	h := prepare(t, settings(1, web+ending+"overload: {memory: {limit: 1GiB}, cpu: {}}\n"), say("hello")).open()
	h.log.wait(t, "watching memory", 1)
	if err := h.edit(settings(1, web+ending+"overload: {memory: {limit: 2GiB}}\n")); err != nil {
		t.Fatal(err)
	}
	h.log.wait(t, "limit=2147483648 from=settings", 1)
	if err := h.edit(settings(1, web+ending+"overload: {memory: {close: 99}}\n")); err == nil || !strings.Contains(err.Error(), "none more than the next; they are 99, 95, 98") {
		t.Errorf("%v", err)
	}
	if err := h.edit(settings(1, web+ending+"overload: {cpu: {shed: 5ms}}\n")); err == nil || !strings.Contains(err.Error(), "they are 20ms, 5ms, 1s") {
		t.Errorf("%v", err)
	}
}

// Fault 38: in the step in which no connections are accepted, operators are answered on
// new ones all the time, and a reload works.
func TestFault38AdminAnswersInStop(t *testing.T) {
	with := func(routes int, token string) string {
		return settings(routes, web+ending+"admin: {token: "+token+"}\n")
	}
	h := prepare(t, with(1, "one"), say("hello"))
	admin := withAdmin(h)
	h.open()
	var percent atomic.Int64
	h.press(&percent)
	percent.Store(99)
	h.log.wait(t, "step=stop", 1)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for i := range 50 {
		if status, text, err := fetch(client, admin()+"/ready"); err != nil || status != 200 || text != "one" {
			t.Fatalf("operators, %d: %d %q %v", i, status, text, err)
		}
	}
	if err := h.edit(with(2, "two")); err != nil {
		t.Errorf("reload: %v", err)
	}
	h.press(&percent) // the reload has put the settings' own sources in its place
	if status, text, err := fetch(client, admin()+"/"); err != nil || status != 200 || text != "two" {
		t.Errorf("operators after a reload: %d %q %v", status, text, err)
	}
	if _, _, err := h.get("/"); err == nil {
		t.Error("a connection of a client was accepted: this was not the step")
	}
	h.wantMetric("pithead_overload_step 3")
}

// A request that has been let in may not go on to take what is left. It is refused as
// others are, and no service is blamed.
func TestFault38BodiesInStop(t *testing.T) {
	h := whole(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }, ", use: [retry: {}]")
	var percent atomic.Int64
	h.press(&percent)
	conn, err := net.Dial("tcp", h.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst"); err != nil {
		t.Fatal(err)
	}
	percent.Store(99)
	h.log.wait(t, "step=stop", 1)
	if _, err := io.WriteString(conn, "last"); err != nil { // a byte is wanting yet
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), `"overloaded"`) {
		t.Errorf("%d %v %s %v", resp.StatusCode, resp.Header, text, err)
	}
	if got := h.Snapshot().Clusters()[0].Endpoints()[0]; got.Failures != 0 || got.Ejected != nil {
		t.Errorf("the service is blamed: %+v", got)
	}
}
