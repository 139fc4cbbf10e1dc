package server

import (
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// bottleneck is a service that works on a few requests at a time, each for some time.
type bottleneck struct {
	workers chan struct{}
	takes   time.Duration
	at      atomic.Int64 // requests that are there
	most    atomic.Int64
}

func (b *bottleneck) serve(w http.ResponseWriter, r *http.Request) {
	n := b.at.Add(1)
	defer b.at.Add(-1)
	for m := b.most.Load(); n > m && !b.most.CompareAndSwap(m, n); m = b.most.Load() {
	}
	select {
	case b.workers <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	<-time.After(b.takes)
	<-b.workers
	_, _ = io.WriteString(w, "ok")
}

// flood asks at an even rate for some time, however long answers take.
func flood(t *testing.T, h *house, rate int, over time.Duration) (took []time.Duration, refused int, goodput float64) {
	t.Helper()
	begun := time.Now()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 500}, Timeout: patience}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var work sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range int(over.Seconds() * float64(rate)) {
		<-tick.C
		work.Go(func() {
			start := time.Now()
			resp, err := client.Get("http://" + h.addr() + "/")
			if err != nil {
				t.Errorf("GET: %v", err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case resp.StatusCode == http.StatusOK:
				took = append(took, time.Since(start))
			case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
				refused++
			default:
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
		})
	}
	work.Wait()
	slices.Sort(took)
	return took, refused, float64(len(took)) / time.Since(begun).Seconds()
}

// Fault 39: a service gets four times what it can do, over real connections.
// PITHEAD_FAULTS=full runs it for a minute and wants the figures.
func TestFault39FourTimesOverload(t *testing.T) {
	over, full := 2*time.Second, os.Getenv("PITHEAD_FAULTS") == "full"
	if full {
		over = time.Minute
	}
	for name, block := range map[string]string{
		"fixed":    "concurrency: {max: 8, queue: {size: 20, target: 40ms}}",
		"adaptive": "concurrency: {adaptive: {initial: 8}, queue: {size: 20, target: 40ms}}",
	} {
		t.Run(name, func(t *testing.T) {
			b := &bottleneck{workers: make(chan struct{}, 8), takes: 100 * time.Millisecond} // 80 a second
			h := whole(t, b.serve, ", use: ["+"{"+block+"}]")
			calm, _, _ := flood(t, h, 60, over/2)
			b.most.Store(0)
			took, refused, goodput := flood(t, h, 320, over)
			p99, before := took[len(took)*99/100], calm[len(calm)*99/100]
			t.Logf("%.1f/s of 80 answered, %d refused, p99 %v, without overload %v, at most %d at the service", goodput, refused, p99, before, b.most.Load())
			if refused == 0 || len(took) == 0 {
				t.Errorf("%d answered, %d refused", len(took), refused)
			}
			if name == "fixed" && b.most.Load() > 8 {
				t.Errorf("%d requests at a time at the service", b.most.Load())
			}
			if full && (goodput < 0.8*80 || p99 > 2*before) {
				t.Errorf("goodput %.1f/s of 80, p99 %v, without overload %v", goodput, p99, before)
			}
			if got := h.Snapshot().Clusters()[0].Endpoints()[0]; got.Failures != 0 || got.Ejected != nil {
				t.Errorf("refusals count against the upstream: %+v", got)
			}
		})
	}
}
