//go:build linux

package bpf

import (
	"io"
	"net/http"
	"os"
	"testing"
)

// fetch asks for a path and reads the answer.
func fetch(t testing.TB, client *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp
}

func newClient(t testing.TB) *http.Client {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// exactly reports whether every request has given one sample of each metric on
// both sides.
func exactly(n uint64) func(*Snapshot) bool {
	return func(s *Snapshot) bool {
		for _, metric := range []string{"ttfb_first", "ttfb_last", "total", "queue", "srtt"} {
			if s.Find(Server, metric).Count() != n || s.Find(Upstream, metric).Count() != n {
				return false
			}
		}
		return s.Find(Server, "drain").Count() == n
	}
}

func TestEveryRequestIsCountedOnce(t *testing.T) {
	need(t)
	n := 200
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		n = 10_000
	}
	for name, packets := range map[string]bool{"tracepoints": false, "packets": true} {
		t.Run(name, func(t *testing.T) {
			dir := group(t)
			back := start(t, "", nil, "service")
			front := start(t, dir, nil, "gateway", back.addr)
			p := probe(t, Options{
				Cgroup: dir, Listen: []Port{front.port()}, Upstream: []Port{back.port()}, Status: true, Packets: packets,
			})
			client := newClient(t)
			for range n {
				fetch(t, client, "http://"+front.addr+"/")
			}
			s := eventually(t, p, exactly(uint64(n)))
			t.Logf("\n%s\n%v", describe(s), p.Tiers())
			for _, row := range s.Rows {
				if got := row.Counters; got.Requests != uint64(n) || got.Connections != 1 || got.Cut+got.Unanswered+got.Resets != 0 {
					t.Errorf("%s: %+v", row.Side, got)
				}
			}
			if a, c := s.Find(Server, "accept").Count(), s.Find(Upstream, "connect").Count(); a != 1 || c != 1 {
				t.Errorf("%d accepts and %d connects, want 1 and 1", a, c)
			}
		})
	}
}
