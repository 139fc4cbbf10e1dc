package upstream

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// conducted makes a cluster whose endpoints have had requests that nobody sent:
// act is called for each endpoint once a second.
func conducted(t *testing.T, n int, rules OutlierOptions, act func(i int, own *gateway.Conduct)) *Cluster {
	t.Helper()
	c, _ := wired(t, n, rules)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
			}
			for i, m := range c.set.Load().members {
				if m.ejected == nil {
					act(i, &m.ep.Stats.Conduct)
				}
			}
		}
	}()
	t.Cleanup(func() { close(stop) })
	return c
}

func TestSuccessRateOutliers(t *testing.T) {
	f := func(name string, n, requests int, bad func(i int) int, want string) {
		bubble(t, name, func(t *testing.T) {
			rules := OutlierOptions{SuccessRate: &SuccessRateOptions{Stdev: 1.9, MinEndpoints: 5, MinRequests: 100}}
			c := conducted(t, n, rules, func(i int, own *gateway.Conduct) {
				own.Ended.Add(uint64(requests))
				own.Bad.Add(uint64(bad(i)))
			})
			after(9500 * time.Millisecond)
			wantOut(t, c, "") // the interval is not over
			after(time.Second)
			wantOut(t, c, want)
		})
	}
	only := func(k, n int) func(int) int {
		return func(i int) int {
			if i == k {
				return n
			}
			return 0
		}
	}
	f("one of five fails", 5, 100, only(1, 100), "b:1 success_rate 1")
	f("one of five fails half of the time", 5, 100, only(2, 50), "c:1 success_rate 1")
	f("one of four is too few", 4, 100, only(1, 100), "")
	f("too few requests", 5, 9, only(1, 9), "")
	f("nobody fails", 5, 100, only(-1, 0), "")
	f("all fail alike", 5, 100, func(int) int { return 50 }, "")
	f("four in a hundred are not many", 10, 100, only(1, 4), "")
	f("all fail a little, one much", 10, 100, func(i int) int { return 10 + only(7, 60)(i) }, "h:1 success_rate 1")
}

func TestLatencyOutliers(t *testing.T) {
	f := func(name string, n int, took func(i int) time.Duration, want string) {
		bubble(t, name, func(t *testing.T) {
			rules := OutlierOptions{Latency: &LatencyOutlierOptions{Factor: 3, Least: 10 * time.Millisecond, MinEndpoints: 3, MinRequests: 20}}
			c := conducted(t, n, rules, func(i int, own *gateway.Conduct) {
				for range 10 {
					d := took(i)
					own.Took.Add(d/2 + rand.N(d))
				}
			})
			after(10500 * time.Millisecond)
			wantOut(t, c, want)
		})
	}
	slow := func(k, times int, base time.Duration) func(int) time.Duration {
		return func(i int) time.Duration {
			if i == k {
				return base * time.Duration(times)
			}
			return base
		}
	}
	f("ten times as slow", 5, slow(4, 10, 20*time.Millisecond), "e:1 latency 1")
	f("one of three", 3, slow(0, 10, 20*time.Millisecond), "a:1 latency 1")
	f("twice as slow", 5, slow(4, 2, 20*time.Millisecond), "")
	f("ten times next to nothing", 5, slow(4, 10, 500*time.Microsecond), "")
	f("one of two", 2, slow(1, 10, 20*time.Millisecond), "")
	f("half of four are slow", 4, func(i int) time.Duration { return 20*time.Millisecond + time.Duration(i/2)*time.Second }, "c:1 latency 1, d:1 latency 1")
}

// A slow endpoint is ejected for what real requests have waited for it, and comes
// back at the end of its time.
func TestLatencyOutlierOfRequests(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		c, w := wired(t, 5, OutlierOptions{Latency: &LatencyOutlierOptions{Factor: 3, Least: 10 * time.Millisecond, MinEndpoints: 3, MinRequests: 20}})
		for i := range 5 {
			w.set(string(rune('a'+i))+":1", host{answer: answer(200), after: 10 * time.Millisecond})
		}
		w.set("c:1", host{answer: answer(200), after: 100 * time.Millisecond})
		for begun := time.Now(); time.Since(begun) < 10*time.Second; {
			send(t, c, 5)
		}
		after(100 * time.Millisecond)
		wantOut(t, c, "c:1 latency 1")
		after(34 * time.Second)
		wantOut(t, c, "")
	})
}

// What was counted before a cluster began, and what endpoints did that have gone,
// belongs to no interval.
func TestPeersForget(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		store, reg := NewStatsStore(), newRegistry(at("a:1", "b:1", "c:1", "d:1", "e:1")...)
		own := &store.Acquire("a:1").Conduct
		own.Ended.Store(1_000_000)
		own.Bad.Store(1_000_000)
		feed := NewFeed("orders", reg, quiet)
		c := New(Options{
			Name: "orders", Feed: feed, Policy: turns, Log: quiet, Stats: store,
			Outliers: OutlierOptions{SuccessRate: &SuccessRateOptions{Stdev: 1.9, MinEndpoints: 5, MinRequests: 100}, MaxPercent: 50},
		})
		c.Start()
		t.Cleanup(func() {
			_ = c.Close()
			_ = feed.Close()
		})
		<-c.Filled()
		for i := range 30 {
			for _, m := range c.set.Load().members {
				m.ep.Stats.Conduct.Ended.Add(100)
			}
			after(time.Second)
			if i == 15 {
				reg.set(at("a:1", "b:1", "c:1", "d:1", "f:1")...)
			}
		}
		synctest.Wait()
		if got := fmt.Sprint(c.Ejections()["success_rate"]); got != "0" {
			t.Errorf("%s were ejected", got)
		}
	})
}
