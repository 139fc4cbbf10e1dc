package server

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// often is how many times something is done: a few for every change of the code,
// and many when minutes may be spent.
func often(short, full int) int {
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		return full
	}
	return short
}

// within is how soon a change of files must be in use: what is promised, in the full
// length. In the short one the machine may be slow, and what must show is a notice that
// never came, after which a look at the files finds the change after ten seconds.
func within(promised time.Duration) time.Duration {
	return max(promised, time.Duration(often(int(8*time.Second), 0)))
}

// realHouse serves a configuration with nothing fake in it.
func realHouse(t testing.TB, path string) *house {
	h := prepare(t, "", nil)
	h.opt.Path, h.path = path, path
	h.compile = h.compileWhole
	return h.open()
}

// footprint is what reloads must not make more of.
type footprint struct{ heap, goroutines, files int }

func measure(t *testing.T) footprint {
	t.Helper()
	least := math.MaxInt
	for range 5 { // what finalizers and pools hold goes with the second and third
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int(m.HeapAlloc))
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{least, runtime.NumGoroutine(), len(fds)}
}

// TestFault29ReloadsUnderTraffic reloads a whole gateway again and again: routes,
// chains, upstreams and listeners come and go under requests of which none may
// fail, and each is served by one generation from its request to its answer.
func TestFault29ReloadsUnderTraffic(t *testing.T) {
	var open atomic.Int64 // connections of the gateway to the origin
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Header.Get("X-Generation"))
	}))
	origin.Config.ConnState = connCounter(&open)
	origin.Start()
	defer origin.Close()
	text := func(n int) string { // n stands in the request, and in its answer
		return fmt.Sprintf(`access_log: {output: "off"}
reload: {watch: false}
listeners: {web: {address: "127.0.0.1:0", timeouts: {header: %ds}}}
upstreams:
  u: {discover: {static: {targets: [%[2]q]}}, timeouts: {response: %[3]ds}}
  u%[4]d: {discover: {static: {targets: [%[2]q]}}}
routes:
  - name: r
    match: {prefix: /}
    use: [{headers: {request: {set: {X-Generation: "%[5]d"}}, response: {set: {X-Generation: "%[5]d"}}}}]
    to: u
  - {name: r%[4]d, match: {prefix: "/more%[4]d"}, to: u%[4]d}
`, 10+n/10%2, strings.TrimPrefix(origin.URL, "http://"), 20+n%3, n%5, n) +
			"shutdown: {delay: 0s, lame_duck: 2s, grace: 5s}\n" // in which each client comes back, however slow it is
	}
	path := filepath.Join(t.TempDir(), "pithead.yaml")
	put(t, path, text(0))
	h := realHouse(t, path)
	tr := startTraffic(h.addr(), "/", often(300, 2000), func(resp *http.Response, body string) error {
		if got := resp.Header.Get("X-Generation"); got != body || body == "" {
			return fmt.Errorf("the request was served by generation %q, its answer by %q", body, got)
		}
		return nil
	})
	reload := func(from, to int) {
		for n := from; n < to; n++ {
			if err := h.edit(text(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var p99 time.Duration
	var rate float64
	rest := func() footprint {
		tr.asking.Lock() // what requests and connections hold comes and goes
		defer tr.asking.Unlock()
		tr.hangUp()
		origin.CloseClientConnections()
		h.atRest(func() bool { return h.budget.used.Load() == 0 && open.Load() == 0 })
		p99, rate = tr.lap() // what the test itself remembers of requests and reloads is not the gateway's
		h.log.forget()
		return measure(t)
	}
	warm, all := 30, often(30, 10_000)
	reload(1, warm)
	before := rest()
	reload(warm, warm+all)
	after := rest()
	tr.finish(t)
	t.Logf("%d requests, %.0f/s, %d reloads, p99 %s; before %+v, after %+v", tr.done.Load(), rate, h.Status().Generation, p99, before, after)
	const few = 10 // which are lost sooner if one is lost with each reload
	t.Run("fault 29: heap and goroutines", func(t *testing.T) {
		if after.heap > before.heap+max(before.heap/20, 512<<10) {
			t.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
		}
		if after.goroutines > before.goroutines+few {
			t.Errorf("goroutines grew from %d to %d", before.goroutines, after.goroutines)
		}
	})
	t.Run("fault 30: no descriptors left behind", func(t *testing.T) {
		if after.files > before.files+few {
			t.Errorf("descriptors grew from %d to %d", before.files, after.files)
		}
	})
	if got, want := h.Status().Generation, uint64(warm+all); got != want {
		t.Errorf("generation %d, want %d", got, want)
	}
}

// atRest waits until generations and fronts that were replaced have ended, and idle
// connections to upstreams, and until all else is well.
func (h *house) atRest(well func() bool) {
	h.t.Helper()
	stacks, late := make([]byte, 8<<20), time.After(patience)
	for {
		text := string(stacks[:runtime.Stack(stacks, true)])
		busy := false
		for _, f := range []string{".(*front).retire(", ".(*Server).endWhenUnused(", "net/http.(*persistConn)."} {
			busy = busy || strings.Contains(text, f)
		}
		if !busy && well() {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			h.t.Fatal("the old generations do not end")
		}
	}
}

// TestFault30IdleConnectionsGo: connections of an upstream that is gone do not
// wait for their idle timeout.
func TestFault30IdleConnectionsGo(t *testing.T) {
	var open atomic.Int64
	origin := httptest.NewUnstartedServer(say("hello"))
	origin.Config.ConnState = connCounter(&open)
	origin.Start()
	defer origin.Close()
	text := func(name string) string {
		return fmt.Sprintf("access_log: {output: \"off\"}\nreload: {watch: false}\nupstreams: {%[1]s: {discover: {static: {targets: [%[2]q]}}}}\nroutes: [{match: {prefix: /}, to: %[1]s}]\n",
			name, strings.TrimPrefix(origin.URL, "http://")) + web + ending
	}
	path := filepath.Join(t.TempDir(), "pithead.yaml")
	put(t, path, text("one"))
	h := realHouse(t, path)
	h.wantGet("hello")
	if n := open.Load(); n != 1 {
		t.Fatalf("%d connections to the upstream, want one that is kept", n)
	}
	if err := h.edit(text("two")); err != nil {
		t.Fatal(err)
	}
	for late := time.After(patience); open.Load() > 0; {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-late:
			t.Fatal("the old connection stays")
		}
	}
	h.wantGet("hello")
}

func connCounter(open *atomic.Int64) func(c net.Conn, state http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
}
