package concurrency

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

var wellBelow = Health{Target: 200 * time.Millisecond, Errors: 0.05, Least: 1}

// load is what becomes of requests at an even rate that an admission decides about.
type load struct {
	admitted, refused atomic.Int64
	failing           atomic.Int64 // per cent of the requests that fail
	work              sync.WaitGroup
}

func (o *load) run(a *Admission, s *service, over time.Duration, rate float64, p gateway.Priority) {
	between := time.Duration(float64(time.Second) / rate)
	for range int(over / between) {
		after(between)
		if _, ok := a.Admit(p); !ok {
			o.refused.Add(1)
			continue
		}
		o.admitted.Add(1)
		n := o.admitted.Load()
		o.work.Go(func() {
			waited := s.serve()
			if n*37%100 < o.failing.Load() {
				a.Done(Report{Ended: true, Failed: true})
				return
			}
			a.Done(Report{Ended: true, Waited: waited})
		})
	}
}

// Overload degrades, the limit finds what the service can do within seconds, and
// does not swing around it.
func TestAdmissionConverges(t *testing.T) {
	for name, random := range map[string]bool{"even times": false, "random times": true} {
		bubble(t, name, func(t *testing.T) {
			a, s, o := NewAdmission(wellBelow), newService(20, 20*time.Millisecond, random), new(load) // 1000/s
			defer o.work.Wait()
			o.run(a, s, 5*time.Second, 800, gateway.PriorityNormal)
			if i := a.Info(); i.Condition != Healthy || i.Limit != 0 || o.refused.Load() > 0 {
				t.Fatalf("without overload: %+v, %d refused", i, o.refused.Load())
			}
			o.run(a, s, 15*time.Second, 4000, gateway.PriorityNormal)
			var low, high float64 = 1e9, 0
			before := o.admitted.Load()
			for range 60 {
				o.run(a, s, time.Second, 4000, gateway.PriorityNormal)
				i := a.Info()
				low, high = min(low, i.Limit), max(high, i.Limit)
			}
			t.Logf("limit from %.0f to %.0f/s, %.0f/s let in, of 1000 that are possible", low, high, float64(o.admitted.Load()-before)/60)
			if low < 700 || high > 1150 {
				t.Errorf("the limit swings from %.0f to %.0f/s around 1000", low, high)
			}
			if rate := float64(o.admitted.Load()-before) / 60; rate < 850 {
				t.Errorf("%.0f/s of 1000 were let in", rate)
			}
			o.run(a, s, 20*time.Second, 500, gateway.PriorityNormal)
			refused := o.refused.Load()
			o.run(a, s, 5*time.Second, 800, gateway.PriorityNormal)
			if i := a.Info(); i.Condition != Healthy || o.refused.Load() > refused {
				t.Errorf("after the overload: %+v, %d refused", i, o.refused.Load()-refused)
			}
		})
	}
}

func TestAdmissionBreaks(t *testing.T) {
	bubble(t, "and recovers", func(t *testing.T) {
		a, s, o := NewAdmission(wellBelow), newService(100, 20*time.Millisecond, false), new(load)
		defer o.work.Wait()
		o.failing.Store(4)
		o.run(a, s, 5*time.Second, 1000, gateway.PriorityNormal)
		if i := a.Info(); i.Condition != Healthy {
			t.Fatalf("with 4 %% of failures: %+v", i)
		}
		o.failing.Store(20)
		o.run(a, s, 3*time.Second, 1000, gateway.PriorityNormal)
		if i := a.Info(); i.Condition != Broken || i.Limit < 80 || i.Limit > 120 {
			t.Errorf("with 20 %% of failures: %+v, want a tenth of 1000", i)
		}
		o.run(a, s, 10*time.Second, 1000, gateway.PriorityNormal)
		if i := a.Info(); i.Condition != Broken || i.Limit < 80 || i.Limit > 120 {
			t.Errorf("later: %+v, want a tenth of 1000", i)
		}
		o.failing.Store(0)
		o.run(a, s, 15*time.Second, 1000, gateway.PriorityNormal)
		if i := a.Info(); i.Limit != 0 && i.Limit < 900 {
			t.Errorf("15 s after the recovery: %+v", i)
		}
	})
	bubble(t, "not by few failures", func(t *testing.T) {
		a := NewAdmission(wellBelow)
		for range 15 {
			a.Admit(gateway.PriorityNormal)
			a.Done(Report{Ended: true, Failed: true})
		}
		after(2 * time.Second)
		a.Admit(gateway.PriorityNormal)
		if i := a.Info(); i.Condition != Healthy {
			t.Errorf("%+v", i)
		}
	})
	bubble(t, "not by what says nothing", func(t *testing.T) {
		a := NewAdmission(wellBelow)
		for range 1000 {
			a.Admit(gateway.PriorityNormal)
			a.Done(Report{Failed: true})
			after(5 * time.Millisecond)
		}
		if i := a.Info(); i.Condition != Healthy {
			t.Errorf("%+v", i)
		}
	})
}

// Who has a high priority is hardly refused while others ask for all there is.
func TestAdmissionPriority(t *testing.T) {
	bubble(t, "low first", func(t *testing.T) {
		a, s := NewAdmission(wellBelow), newService(20, 20*time.Millisecond, false) // 1000/s
		var all [3]load
		var callers sync.WaitGroup
		for i, rate := range []float64{3000, 400, 200} {
			callers.Go(func() { all[i].run(a, s, 40*time.Second, rate, gateway.Priority(i-1)) })
		}
		callers.Wait()
		for i := range all {
			all[i].work.Wait()
		}
		high, normal := float64(all[2].refused.Load())/8000, float64(all[1].refused.Load())/16000
		t.Logf("refused: %.1f%% high, %.1f%% normal, %d low", 100*high, 100*normal, all[0].refused.Load())
		if high > 0.01 || normal > 0.05 || all[0].refused.Load() < 60000 {
			t.Errorf("refused: %.1f%% high, %.1f%% normal, %d low", 100*high, 100*normal, all[0].refused.Load())
		}
	})
}

func TestAdmissionNoAllocations(t *testing.T) {
	a := NewAdmission(wellBelow)
	if n := testing.AllocsPerRun(1000, func() {
		a.Admit(gateway.PriorityNormal)
		a.Done(Report{Ended: true, Waited: time.Millisecond})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmission(b *testing.B) {
	a := NewAdmission(wellBelow)
	b.SetParallelism(8) // 16 goroutines on two processors
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := a.Admit(gateway.PriorityNormal); ok {
				a.Done(Report{Ended: true, Waited: time.Millisecond})
			}
		}
	})
}
