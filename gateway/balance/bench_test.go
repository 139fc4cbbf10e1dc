package balance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

// sizes of sets for the curves.
var sizes = []int{10, 1000, 10_000}

// busy makes n endpoints of weights 1 to 3 that have answered before and have
// requests under way.
func busy(n int) []*gateway.Endpoint {
	weights := make([]int, n)
	for i := range weights {
		weights[i] = i%3 + 1
	}
	eps := balancetest.Endpoints(weights...)
	for i, ep := range eps {
		ep.Stats.Latency.Follow(10 * time.Second)
		ep.Stats.Latency.Observe(time.Now(), time.Duration(i%7+1)*time.Millisecond)
		ep.Stats.Active.Store(int64(weights[i] * (i%2 + 1)))
	}
	return eps
}

func BenchmarkPick(b *testing.B) {
	x := balancetest.Exchange(7)
	for _, name := range Kinds.Names() {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				p := defaultPolicy(b, name)(busy(n))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						p.Pick(x)
					}
				})
			})
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, name := range Kinds.Names() {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				policy, eps := defaultPolicy(b, name), busy(n)
				b.ReportAllocs()
				for b.Loop() {
					policy(eps)
				}
			})
		}
	}
}

func defaultPolicy(b *testing.B, name string) gateway.Policy {
	b.Helper()
	k, _ := Kinds.Get(name)
	s, err := k.Decode(func(any) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	policy, err := s.Build(Env{Upstream: "orders"})
	if err != nil {
		b.Fatal(err)
	}
	return policy
}

// BenchmarkSlowEndpoint is the simulation over real sockets: 64 clients, five
// servers, the last of which needs 200 ms instead of 20. It reports the slow one's
// share and the 99th percentile of the others' requests, also of a healthy set.
func BenchmarkSlowEndpoint(b *testing.B) {
	for _, name := range []string{"round_robin", "least_request", "peak_ewma"} {
		for _, last := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
			b.Run(fmt.Sprintf("%s/%v", name, last), func(b *testing.B) {
				eps := balancetest.Endpoints(1, 1, 1, 1, 1)
				for i, ep := range eps {
					takes := 20 * time.Millisecond
					if i == len(eps)-1 {
						takes = last
					}
					s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-time.After(takes) }))
					b.Cleanup(s.Close)
					ep.Addr = s.Listener.Addr().String()
				}
				share, p99 := overSockets(b, defaultPolicy(b, name)(eps), eps[len(eps)-1])
				b.ReportMetric(share*100, "%slow")
				b.ReportMetric(float64(p99.Microseconds())/1000, "ms-p99-others")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func overSockets(b *testing.B, p gateway.Picker, slow *gateway.Endpoint) (share float64, p99 time.Duration) {
	b.Helper()
	t := &http.Transport{MaxIdleConnsPerHost: 64}
	b.Cleanup(t.CloseIdleConnections)
	var mu sync.Mutex
	var others []time.Duration
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range b.N/64 + 1 {
				ep := p.Pick(nil)
				ep.Stats.Active.Add(1)
				begun := time.Now()
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+ep.Addr, nil)
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := t.RoundTrip(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				took := time.Since(begun)
				ep.Stats.Active.Add(-1)
				ep.Stats.Latency.Observe(time.Now(), took)
				if ep != slow {
					mu.Lock()
					others = append(others, took)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if len(others) == 0 {
		return 1, 0
	}
	slices.Sort(others)
	all := 64 * (b.N/64 + 1)
	return float64(all-len(others)) / float64(all), others[len(others)*99/100]
}
