package server

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestFault29ReloadAtScale changes one file of many while requests go on. It is
// live within three seconds of the last write, and no request fails; in the full
// run these are 10,000 routes in 100 files, and 2,000 requests/s. How fast the
// requests are meanwhile is not judged here, where the clients are in one process
// with the gateway: make bench-reload measures it.
func TestFault29ReloadAtScale(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer origin.Close()
	address := strings.TrimPrefix(origin.URL, "http://")
	routes := often(500, 10_000)
	e := newEstate(t, routes, address)
	h := realHouse(t, e.path())
	template := fmt.Sprintf("/r%d/x", routes-7)
	tr := startTraffic(h.addr(), template, often(200, 2000), func(*http.Response, string) error { return nil })
	wait := func(d time.Duration) { <-time.After(d) }
	wait(time.Duration(often(200, 3000)) * time.Millisecond) // to warm up
	tr.lap()
	wait(time.Duration(often(500, 10_000)) * time.Millisecond)
	before, calm := tr.lap()
	var slowest time.Duration
	const changes = 10
	for n := range often(2, changes) {
		generation := h.Status().Generation
		e.write(t, e.file(0), e.text(0, address, fmt.Sprintf("timeout: %ds", 10+n)))
		begin := time.Now()
		h.log.wait(t, fmt.Sprintf("generation=%d ", generation+1), 1)
		slowest = max(slowest, time.Since(begin))
		if got := h.Snapshot().Config.Routes[0].Timeout; got != time.Duration(10+n)*time.Second {
			t.Errorf("generation %d has the timeout %s", generation+1, got)
		}
	}
	during, busy := tr.lap()
	tr.finish(t)
	t.Logf("%d routes: live after %s at most; p99 %s before at %.0f requests/s, %s during %d reloads at %.0f", routes, slowest, before, calm, during, changes, busy)
	if raceEnabled && routes == 10_000 {
		return // it makes all of this several times slower, and make faults has a run without it
	}
	if slowest > within(3*time.Second) {
		t.Errorf("a change came into use after %s", slowest)
	}
}
