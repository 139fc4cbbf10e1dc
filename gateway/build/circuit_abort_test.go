package build

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/breaker"
)

// TestFault45AbortsLeaveTheCircuit has clients leave in the middle of requests and
// of answers. A goroutine that is left fails the package.
func TestFault45AbortsLeaveTheCircuit(t *testing.T) {
	p, s := newProcess(t), newSickly(t)
	g := p.gate(p.start(fmt.Sprintf(breakerConfig, s.addr, ", consecutive: 3")))
	_ = g.times(t, 5, "/") // five that are well, so that there is a breaker
	times := 500
	if os.Getenv("PITHEAD_FAULTS") == "full" {
		times = 10_000
	}
	abort(t, g, s, times)
	g.want(t, breaker.Closed, 5, 0)
	if n := g.snap.Clusters()[0].Endpoints()[0].Failures; n != 0 {
		t.Errorf("%d failures are said to be the endpoint's", n)
	}
}

// abort has clients leave so often, half of them before there is an answer.
func abort(t *testing.T, g *gate, s *sickly, times int) {
	t.Helper()
	const together = 20
	var wg sync.WaitGroup
	var late atomic.Int64
	for i := range together {
		wg.Go(func() {
			path := []string{"/hang", "/hang-body"}[i%2]
			for n := range times / together {
				id := fmt.Sprintf("%d-%d", i, n)
				v := &visit{make(chan struct{}), make(chan time.Time, 1)}
				s.visits.Store(id, v)
				if !g.leave(t, path+"?"+id, v) {
					late.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("the service learned of %d aborts late", n)
	}
}

// leave sends a request and leaves when it has arrived. prompt says that the
// service learned of it at once.
func (g *gate) leave(t *testing.T, path string, v *visit) (prompt bool) {
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, "GET", g.url+path, http.NoBody)
	if err != nil {
		t.Error(err)
		return false
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
	return (<-v.cancelled).Sub(<-left) < time.Second
}
