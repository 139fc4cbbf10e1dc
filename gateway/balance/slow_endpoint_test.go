package balance

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

const workers = 16 // of an instance

// instance is a service with so many workers, each of which needs `takes`, more
// or less, for a request; requests that find none free wait in line.
type instance struct {
	takes time.Duration
	free  []time.Time // when each worker is
}

func (s *instance) serve(now time.Time) (done time.Time) {
	worker := 0
	for i := range s.free {
		if s.free[i].Before(s.free[worker]) {
			worker = i
		}
	}
	begin := now
	if s.free[worker].After(now) {
		begin = s.free[worker]
	}
	s.free[worker] = begin.Add(s.takes*8/10 + rand.N(s.takes*4/10))
	return s.free[worker]
}

// answers are requests under way, the one that ends next on top.
type answers []answer

type answer struct {
	begun, done time.Time
	from        int
}

func (a answers) Len() int           { return len(a) }
func (a answers) Less(i, j int) bool { return a[i].done.Before(a[j].done) }
func (a answers) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *answers) Push(x any)        { *a = append(*a, x.(answer)) }
func (a *answers) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// simulate lets 64 clients send one request after the other for 10 s of the
// bubble's clock, and tells the share of the last endpoint and the 99th
// percentile of the others' requests.
func simulate(policy gateway.Policy, takes ...time.Duration) (share float64, p99 time.Duration) {
	eps := balancetest.Endpoints(slices.Repeat([]int{1}, len(takes))...)
	p := policy(eps)
	instances := make([]instance, len(takes))
	for i := range instances {
		instances[i] = instance{takes[i], make([]time.Time, workers)}
	}
	var underWay answers
	send := func() {
		ep := p.Pick(nil)
		i, now := slices.Index(eps, ep), time.Now()
		ep.Stats.Active.Add(1)
		heap.Push(&underWay, answer{now, instances[i].serve(now), i})
	}
	for range 64 {
		send()
	}
	var others []time.Duration
	slow, end := 0, time.Now().Add(10*time.Second)
	for time.Now().Before(end) {
		a := heap.Pop(&underWay).(answer)
		<-time.After(time.Until(a.done))
		eps[a.from].Stats.Active.Add(-1)
		eps[a.from].Stats.Latency.Observe(a.done, a.done.Sub(a.begun))
		if a.from == len(eps)-1 {
			slow++
		} else {
			others = append(others, a.done.Sub(a.begun))
		}
		send()
	}
	slices.Sort(others)
	return float64(slow) / float64(slow+len(others)), others[len(others)*99/100]
}

// One of five endpoints needs ten times as long as the others.
func TestSlowEndpoint(t *testing.T) {
	const ms = time.Millisecond
	for name, bound := range map[string]float64{"least_request": 0.04, "peak_ewma": 0.04, "round_robin": 1, "random": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policy := policyOf(t, name, nil)
				healthyShare, healthy := simulate(policy, 10*ms, 10*ms, 10*ms, 10*ms, 10*ms)
				share, p99 := simulate(policy, 10*ms, 10*ms, 10*ms, 10*ms, 100*ms)
				t.Logf("the slow one got %.2f %%, p99 of the others' %v; healthy %.1f %%, %v", share*100, p99, healthyShare*100, healthy)
				if bound == 1 {
					// The simulation is worth something only if it punishes those who do not look.
					if share < 0.15 {
						t.Errorf("a policy that does not look gives the slow endpoint %.2f %%", share*100)
					}
					return
				}
				if share > bound {
					t.Errorf("the slow endpoint got %.2f %% of requests, want %.0f %% at most", share*100, bound*100)
				}
				if p99 > healthy*12/10 {
					t.Errorf("p99 of the others' requests is %v, of a healthy set %v", p99, healthy)
				}
			})
		})
	}
}

// A newcomer beside endpoints whose speed is known must not get everything
// until its first answer.
func TestNewEndpointIsNotRunOver(t *testing.T) {
	for _, name := range []string{"least_request", "peak_ewma"} {
		eps := balancetest.Endpoints(1, 1, 1, 1, 1)
		p := policyOf(t, name, nil)(eps)
		for _, ep := range eps[:4] {
			ep.Stats.Latency.Observe(time.Now(), 10*time.Millisecond)
			ep.Stats.Active.Store(10)
		}
		for range 50 { // none of which ends
			p.Pick(nil).Stats.Active.Add(1)
		}
		if n := eps[4].Stats.Active.Load(); n < 10 || n > 25 {
			t.Errorf("%s: the newcomer has %d of 90 requests under way, want its share of 18 or so", name, n)
		}
	}
}
