package server

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestResets(t *testing.T) {
	f := func(name string, streams, taken uint32, excessive bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var r resets
			r.streams.Store(streams)
			r.taken.Store(taken - 1)
			if got := r.excessive(); got != excessive {
				t.Errorf("%d of %d streams: %v, want %v", taken, streams, got, excessive)
			}
		})
	}
	f("an impatient client", 20, 20, false)
	f("one that does nothing else", maxResets, maxResets, true)
	f("a long connection with many of them", 10*maxResets, maxResets, false)
	f("half of them", 2*maxResets, maxResets, false)
	f("most of them", 2*maxResets, maxResets+1, true)
}

// Each request gets to its handler before it is taken back, so that net/http has no
// reason of its own to end the connection.
func TestResetsEndTheConnection(t *testing.T) {
	begun := make(chan struct{})
	listener := "listeners: {web: {address: \"127.0.0.1:0\", protocols: [h1, h2c]}}\n"
	h := prepare(t, settings(1, listener+ending), func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	}).open()
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	takeBack := func() {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-begun
			cancel()
		}()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.addr()+"/r0", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := tr.RoundTrip(r); err == nil {
			resp.Body.Close()
			t.Fatal("there is an answer")
		}
	}
	for range maxResets - 1 {
		takeBack()
	}
	if strings.Contains(h.scrape(), refusedResets) {
		t.Error("it is refused too early")
	}
	takeBack()
	h.wantSoon(`pithead_connections_refused_total{listener="web",reason="stream_resets"} 1`)
}
