package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Every answer is compressed, which takes the gateway a few milliseconds of CPU and nobody
// else any. It has one processor, so the clients have the rest of the machine.
const busyRoutes = `upstreams: {u: {discover: {static: {targets: [%q]}}}}
middleware: {few: {concurrency: {max: 4, queue: {size: 8, target: 40ms, timeout: 200ms}}}}
routes: [{name: r, match: {prefix: /}, use: [%scompress: {encodings: [br]}], to: u}]
`

// TestFault39OwnCPU: the gateway's own CPU is what there is too little of, and clients want four
// times what it can do. PITHEAD_FAULTS=full runs it for a minute and wants figures.
func TestFault39OwnCPU(t *testing.T) {
	for name, c := range map[string]struct{ listeners, use string }{
		"concurrency":  {"", "few, "},
		"overload.cpu": {"overload: {memory: {enabled: false}, cpu: {close: 10ms, shed: 20ms, stop: 10s}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Attr("row", "fault 39")
			t.Attr("wants", "at four times what the gateway's CPU can do: goodput 80 % of the peak, the rest refused with Retry-After, admin answers; the p99 is told")
			ownCPU(t, c.listeners, c.use)
		})
	}
}

func ownCPU(t *testing.T, more, use string) {
	g := newGateway(t, "listeners: {web: {address: ADDRESS}}\n"+more)
	g.save("routes.d/r.yaml", fmt.Sprintf(busyRoutes, wordy(t), use))
	g.prepare = func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "GOMAXPROCS=1") }
	g.run()
	// The answers of all clients are made on one processor, or on what is left of one.
	o := &busyClients{t: t, url: "http://" + g.addr + "/", client: &http.Client{Timeout: 5 * patience, Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}}
	t.Cleanup(o.client.CloseIdleConnections)
	stop, admins := make(chan struct{}), new(adminClient)
	var watching sync.WaitGroup
	watching.Go(func() { admins.watch(g, stop) })
	var got *tally
	if fullFaults() {
		got = o.measured(admins)
	} else {
		got = o.crowd(64)
	}
	close(stop)
	watching.Wait()
	if got.wrong != "" {
		t.Errorf("an answer that is none: %s", got.wrong)
	}
	if len(got.took) == 0 || got.refused == 0 {
		t.Errorf("%d answered, %d refused", len(got.took), got.refused)
	}
	if admins.failed > 0 || admins.asked == 0 {
		t.Errorf("of %d questions to the admin listener %d had no answer", admins.asked, admins.failed)
	}
	g.until("well again", func() bool { return o.ask() == http.StatusOK })
	g.wantEnd(g.term())
}

// measured is four times the load that the gateway can take, for a minute.
func (o *busyClients) measured(admins *adminClient) *tally {
	const over = time.Minute
	o.closed(2, 5*time.Second) // the first requests make what the next ones use again
	peak := max(o.closed(2, over/4), o.closed(4, over/4))
	calm := o.open(peak/2, over/2)
	admins.longest.Store(0)
	got := o.open(4*peak, over)
	o.t.Logf("%.0f/s at its best; of %.0f/s, %.0f/s answered (%.0f %%), %d refused, p99 %v, %v at half of what it can do; admin took %v at most",
		peak, 4*peak, got.goodput(), 100*got.goodput()/peak, got.refused, got.quantile(0.99), calm.quantile(0.99), time.Duration(admins.longest.Load()).Round(time.Millisecond))
	if got.goodput() < 0.8*peak {
		o.t.Errorf("goodput %.0f/s of %.0f", got.goodput(), peak)
	}
	return got
}

// wordy answers what is worth compressing and takes some time to.
func wordy(t *testing.T) (addr string) {
	t.Helper()
	var text strings.Builder
	words := rand.New(rand.NewPCG(1, 2))
	for text.Len() < 128<<10 {
		fmt.Fprintf(&text, "order %x of %d, ", words.Uint32(), words.IntN(100))
	}
	body := text.String()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// tally is what came of a load.
type tally struct {
	mu      sync.Mutex
	over    time.Duration
	took    []time.Duration // of good answers
	refused int
	wrong   string
}

func (a *tally) add(took time.Duration, resp *http.Response, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err != nil:
		a.wrong = err.Error()
	case resp.StatusCode == http.StatusOK && resp.Header.Get("Content-Encoding") == "br":
		a.took = append(a.took, took)
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		a.refused++
	default:
		a.wrong = fmt.Sprint(resp.StatusCode, resp.Header)
	}
}

// enough says that both sorts of answers have come, or one that is wrong.
func (a *tally) enough() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.took) > 0 && a.refused > 0 || a.wrong != ""
}

func (a *tally) goodput() float64 { return float64(len(a.took)) / a.over.Seconds() }

func (a *tally) quantile(q float64) time.Duration {
	if len(a.took) == 0 {
		return 0
	}
	slices.Sort(a.took)
	return a.took[int(float64(len(a.took)-1)*q)].Round(100 * time.Microsecond)
}

// busyClients ask for what costs CPU.
type busyClients struct {
	t      *testing.T
	url    string
	client *http.Client
}

func (o *busyClients) request() (took time.Duration, resp *http.Response, err error) {
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.url, nil)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept-Encoding", "br")
	begun := time.Now()
	if resp, err = o.client.Do(r); err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return time.Since(begun), resp, err
}

func (o *busyClients) ask() (status int) {
	_, resp, err := o.request()
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// crowd are so many clients that ask again and again until enough has come.
func (o *busyClients) crowd(clients int) *tally {
	a, deadline := new(tally), time.Now().Add(patience)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for !a.enough() && time.Now().Before(deadline) {
				a.add(o.request())
			}
		})
	}
	all.Wait()
	return a
}

// closed is how many requests a second some clients get answered who ask one after the other.
func (o *busyClients) closed(clients int, over time.Duration) float64 {
	a, begun := new(tally), time.Now()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Since(begun) < over {
				a.add(o.request())
			}
		})
	}
	all.Wait()
	a.over = time.Since(begun)
	return max(a.goodput(), 1)
}

// open asks at an even rate, however long answers take.
func (o *busyClients) open(rate float64, over time.Duration) *tally {
	a, begun := new(tally), time.Now()
	var all sync.WaitGroup
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for time.Since(begun) < over {
		<-tick.C
		all.Go(func() { a.add(o.request()) })
	}
	all.Wait()
	a.over = time.Since(begun)
	return a
}

// adminClient asks the admin listener.
type adminClient struct {
	asked, failed int
	longest       atomic.Int64
}

// watch asks five times a second.
func (c *adminClient) watch(g *gatewayUnderLoad, stop <-chan struct{}) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		begun := time.Now()
		if status, _ := g.get("/-/limits"); status != http.StatusOK {
			c.failed++
		}
		c.asked++
		c.longest.Store(max(c.longest.Load(), int64(time.Since(begun))))
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}
