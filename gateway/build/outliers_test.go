package build

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Without a word of it in the configuration, an endpoint that refuses is ejected,
// no request fails for it, and a reload does not forget.
func TestEjectsWithoutSettings(t *testing.T) {
	const refusing = "127.0.0.1:1" // where nobody listens
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	p := newProcess(t)
	text := fmt.Sprintf(`
upstreams:
  app: {discover: {static: {targets: [%q, %q]}}, max_idle: %%d}
routes:
  - {name: app, match: {prefix: /}, to: app}
`, s.Listener.Addr(), refusing)
	snap := p.start(fmt.Sprintf(text, 64))
	front := p.serve(snap, "web")
	for range 20 {
		if a := front.ask(t, "POST http://app.test/\n\nbody"); a.status != http.StatusOK {
			t.Errorf("status %d", a.status)
		}
	}
	ejected := func(snap *Snapshot) (addr string) {
		for _, e := range snap.clusters["app"].Endpoints() {
			if e.Ejected != nil {
				addr += e.Addr + " " + e.Ejected.Reason
			}
		}
		return addr
	}
	want := refusing + " consecutive_connect_failures"
	if got := ejected(snap); got != want {
		t.Errorf("ejected %q, want %q", got, want)
	}
	if got := ejected(p.start(fmt.Sprintf(text, 32))); got != want {
		t.Errorf("ejected %q after a reload, want %q", got, want)
	}
}
