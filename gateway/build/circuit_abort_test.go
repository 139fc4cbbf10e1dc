package build

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/breaker"
)

// TestFault45AbortsLeaveTheCircuit has clients leave in the middle of requests and
// of answers. A goroutine that is left fails the package.
//
// PITHEAD_FAULTS=full wants 99 of 100 aborts to be known at the service within 50 ms.
// The short form runs beside the tests of other packages, under the race detector and
// on whatever processor is left, where so small a time is the scheduler's.
func TestFault45AbortsLeaveTheCircuit(t *testing.T) {
	times, prompt := 500, time.Second
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		times, prompt = 10_000, 50*time.Millisecond
	}
	for _, protocol := range []string{"http", "h2c"} {
		t.Run(protocol, func(t *testing.T) {
			p, s := newProcess(t), newSickly(t)
			g := p.gate(p.start(fmt.Sprintf(abortConfig, s.addr, protocol)))
			_ = g.times(t, 5, "/") // five that are well, so that there is a breaker
			for path, when := range map[string]string{"/hang": "before the answer", "/hang-body": "in the answer"} {
				took := abort(t, g, s, path, times/2)
				p50, p99, most := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
				t.Logf("%d aborts %s: the service knew after %v in the median, %v at p99, %v at most", len(took), when, p50, p99, most)
				if p99 > prompt {
					t.Errorf("aborts %s were known after %v at p99, want %v", when, p99, prompt)
				}
			}
			g.want(t, breaker.Closed, 5, 0)
			if n := g.snap.Clusters()[0].Endpoints()[0].Failures; n != 0 {
				t.Errorf("%d failures are said to be the endpoint's", n)
			}
			if s.major.Load() != map[string]int32{"http": 1, "h2c": 2}[protocol] {
				t.Errorf("the service was asked over HTTP/%d", s.major.Load())
			}
		})
	}
}

const abortConfig = `
upstreams:
  app: {discover: {static: {targets: [%q]}}, protocol: %s}
routes: [{name: all, match: {prefix: /}, use: [circuit_breaker: {minimum: 20, window: 10m, consecutive: 3}], to: app}]
`

// abort has clients leave so often, and says how long it was each time until the
// service knew, in order.
func abort(t *testing.T, g *gate, s *sickly, path string, times int) (took []time.Duration) {
	t.Helper()
	const together = 2 // more would measure how long they wait for a processor
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i := range together {
		wg.Go(func() {
			for n := range times / together {
				id := fmt.Sprintf("%d-%d", i, n)
				v := &visit{make(chan struct{}), make(chan time.Time, 1)}
				s.visits.Store(id, v)
				d := g.leave(t, path+"?"+id, v)
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

// leave sends a request and leaves when it has arrived. It says how long it was until
// the service knew.
func (g *gate) leave(t *testing.T, path string, v *visit) time.Duration {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, "GET", g.url+path, http.NoBody)
	if err != nil {
		t.Error(err)
		return 0
	}
	left := make(chan time.Time, 1)
	go func() { <-v.arrived; left <- time.Now(); leave() }()
	res, err := g.client.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("the client did not leave")
	}
	return (<-v.cancelled).Sub(<-left)
}
