package discovery

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/discovery/discoverytest"
)

// TestConsulFaults has one subtest for each way in which a registry fails. The
// clock is synctest's, so ten minutes of outage are ten minutes.
func TestConsulFaults(t *testing.T) {
	t.Run("fault 13 down for ten minutes", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			before, _ := b.all()
			b.Fail(discoverytest.Down)
			b.after(10 * time.Minute)
			sets, failures := b.all()
			if len(sets) != len(before) {
				t.Errorf("%d sets were published while Consul was down", len(sets)-len(before))
			}
			if n := len(failures); n < 120 || n > 400 {
				t.Errorf("%d attempts in ten minutes, want one for each 2 to 4 s", n)
			}
			if n := strings.Count(b.logs(), "discovery fails"); n != 1 {
				t.Errorf("%d lines for one outage", n)
			}
			b.Register(order(2))
			b.Fail(discoverytest.None)
			b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
			if n := strings.Count(b.logs(), "discovery works again"); n != 1 {
				t.Errorf("%d lines for one recovery", n)
			}
		}, order(1))
	})
	t.Run("fault 14 no leader", func(t *testing.T) {
		for _, fault := range []discoverytest.Fault{discoverytest.NoLeader, discoverytest.Leaderless} {
			keepsLast(t, fault, time.Hour)
		}
	})
	t.Run("fault 17 black hole", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			start := time.Now()
			b.Fail(discoverytest.Hang)
			b.after(75 * time.Second)
			_, failures := b.all()
			if len(failures) == 0 || failures[0].at.Sub(start) > 40*time.Second {
				t.Fatalf("noticed as %v, want within 40 s", failures)
			}
			b.after(time.Hour).is("10.0.0.1:9000")
			b.Register(order(2))
			b.Fail(discoverytest.None)
			b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
		}, order(1))
	})
	t.Run("fault 19 token revoked", func(t *testing.T) { keepsLast(t, discoverytest.Forbidden, 10*time.Minute) })
	t.Run("fault 20 started while Consul is down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newConsulBench(t, nil, order(1))
			b.Fail(discoverytest.Down)
			b.watch()
			b.after(time.Minute)
			if sets, failures := b.all(); len(sets) != 0 || len(failures) == 0 {
				t.Errorf("published %v after %d failures", sets, len(failures))
			}
			b.Fail(discoverytest.None)
			b.after(5 * time.Second).is("10.0.0.1:9000")
		})
	})
}

// TestFaultConsulIndex is about the index of blocking queries.
func TestFaultConsulIndex(t *testing.T) {
	t.Run("fault 15 index goes backwards", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			b.SetIndex(1_000_000)
			b.after(3 * time.Second)
			b.SetIndex(5) // wakes nobody who waits for an index above a million
			b.after(40 * time.Second)
			b.Register(order(2))
			b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
			b.expectRate()
		}, order(1))
	})
	t.Run("fault 15 index 0", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			b.Fail(discoverytest.IndexZero)
			b.after(time.Minute)
			b.Register(order(2))
			b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
			b.expectRate()
		}, order(1))
	})
	t.Run("fault 16 churn", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.after(time.Minute)
			for range 6000 {
				b.Touch()
				b.after(10 * time.Millisecond)
			}
			b.expectRate()
		}, order(1))
	})
}

// keepsLast checks that nothing is published while a fault lasts, and all is well soon after it.
func keepsLast(t *testing.T, fault discoverytest.Fault, d time.Duration) {
	t.Helper()
	inBubble(t, nil, func(t *testing.T, b *consulBench) {
		before, _ := b.all()
		b.Fail(fault)
		b.after(d)
		if sets, failures := b.all(); len(sets) != len(before) || len(failures) == 0 {
			t.Errorf("published %v after %d failures", sets[len(before):], len(failures))
		}
		b.Register(order(2))
		b.Fail(discoverytest.None)
		b.after(5 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
	}, order(1))
}

// expectRate checks that there was one query a second at most, after a burst.
func (b *consulBench) expectRate() {
	b.t.Helper()
	calls := b.Calls()
	for i := paceBurst; i < len(calls); i++ {
		if gap := calls[i].Time.Sub(calls[i-paceBurst].Time); gap < time.Second {
			b.t.Errorf("%d queries in %s", paceBurst+1, gap)
			return
		}
	}
	if n, seconds := len(calls), int(time.Since(calls[0].Time)/time.Second); n > seconds+paceBurst {
		b.t.Errorf("%d queries in %d s", n, seconds)
	}
}

func TestConsulHostileAnswers(t *testing.T) {
	t.Run("D14", func(t *testing.T) {
		for name, fault := range map[string]discoverytest.Fault{
			"HTML": discoverytest.HTML, "wrong JSON": discoverytest.WrongJSON, "null": discoverytest.Null, "redirect": discoverytest.Redirect,
		} {
			t.Run(name, func(t *testing.T) { keepsLast(t, fault, time.Minute) })
		}
		t.Run("64 MiB", func(t *testing.T) { keepsLast(t, discoverytest.Huge, time.Second) })
	})
	t.Run("D13 the token is not shown", func(t *testing.T) {
		inBubble(t, func(c *ConsulConfig) { c.Token = "hunter2" }, func(t *testing.T, b *consulBench) {
			for fault := discoverytest.Down; fault <= discoverytest.Redirect; fault++ {
				if fault == discoverytest.Huge {
					continue
				}
				b.Fail(fault)
				b.after(time.Minute)
			}
			_, failures := b.all()
			shown := b.logs()
			for _, f := range failures {
				shown += f.addrs
			}
			if !strings.Contains(shown, "token [redacted] lacks") {
				t.Errorf("the error that repeats the token did not arrive:\n%s", shown)
			}
			slog.New(slog.NewTextHandler(lockedWriter{&b.mu, &b.log}, nil)).Info("config", "consul", b.source.ConsulConfig)
			if shown += b.logs(); strings.Contains(shown, "hunter2") {
				t.Errorf("the token was shown:\n%s", shown)
			}
		}, order(1))
	})
}

func TestConsulEmptySets(t *testing.T) {
	t.Run("D08 all critical", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.after(10 * time.Second)
			b.SetHealth("orders-1", discoverytest.Critical)
			b.SetHealth("orders-2", discoverytest.Critical)
			b.after(time.Second).is("")
		}, order(1), order(2))
	})
	t.Run("D09 vanished", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			b.after(10 * time.Second)
			start := time.Now()
			b.Deregister("orders-2")
			b.after(0).is("10.0.0.1:9000")
			b.Deregister("orders-1")
			b.after(29 * time.Second).is("10.0.0.1:9000")
			b.after(5 * time.Second).is("")
			sets, _ := b.all()
			if grace := sets[len(sets)-1].at.Sub(start); grace < 30*time.Second {
				t.Errorf("the set ended after %s", grace)
			}
		}, order(1), order(2))
	})
	t.Run("D09 the grace needs a Consul that answers", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.Deregister("orders-1")
			b.after(5 * time.Second)
			b.Fail(discoverytest.NoLeader)
			b.after(10 * time.Minute).is("10.0.0.1:9000")
			b.Fail(discoverytest.None)
			b.after(5 * time.Second).is("")
		}, order(1))
	})
	t.Run("D09 nothing is left that could be used", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			poisoned := order(1)
			poisoned.Address = "169.254.169.254"
			b.Register(poisoned)
			b.after(25 * time.Second).is("10.0.0.1:9000")
			b.after(10 * time.Second).is("")
		}, order(1))
	})
	t.Run("a service that nobody has registered is empty from the start", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) { b.is("") })
	})
	t.Run("grace 0", func(t *testing.T) {
		inBubble(t, func(c *ConsulConfig) { c.Grace = 0 }, func(_ *testing.T, b *consulBench) {
			b.Deregister("orders-1")
			b.after(0).is("")
		}, order(1))
	})
}

func TestFault18ConsulRestart(t *testing.T) {
	t.Run("fault 18 restart with an empty catalogue", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.Fail(discoverytest.Down)
			b.after(3 * time.Second)
			b.Reset()
			b.Fail(discoverytest.None)
			b.after(25 * time.Second).is("10.0.0.1:9000")
			b.Register(order(2))
			b.after(time.Second).is("10.0.0.2:9000")
			b.after(time.Minute).is("10.0.0.2:9000")
		}, order(1))
	})
}

func TestFault21ConsulFlapping(t *testing.T) {
	t.Run("D10 fault 21", func(t *testing.T) {
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			start := time.Now()
			for range 1500 { // 5 minutes at 10 Hz
				b.SetHealth("orders-1", discoverytest.Critical)
				b.after(100 * time.Millisecond)
				b.SetHealth("orders-1", discoverytest.Passing)
				b.after(100 * time.Millisecond)
			}
			sets, _ := b.all()
			if n, seconds := len(sets), int(time.Since(start)/time.Second); n > seconds+paceBurst {
				t.Errorf("%d sets in %d s", n, seconds)
			}
			for _, set := range sets {
				if !strings.Contains(set.addrs, "10.0.0.2:9000") {
					t.Fatalf("the steady instance is missing in %q", set.addrs)
				}
			}
			b.after(time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
		}, order(1), order(2))
	})
}

func TestConsulSkipsAreTold(t *testing.T) {
	bad := order(9)
	bad.Port = 0
	t.Run("D02 D03 the metric follows", func(t *testing.T) {
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.skips(1)
			b.Deregister("orders-9")
			b.after(time.Second).skips(0)
		}, order(1), bad)
	})
	t.Run("D06 too many raise an alarm", func(t *testing.T) {
		many := make([]discoverytest.Instance, maxTargets+7)
		for i := range many {
			many[i] = discoverytest.Instance{ID: fmt.Sprint(i), Service: "orders", Address: fmt.Sprintf("10.0.%d.%d", i>>8, i&255), Port: 80}
		}
		inBubble(t, nil, func(t *testing.T, b *consulBench) {
			b.skips(7)
			if !strings.Contains(b.logs(), "too many instances, some are left out") {
				t.Errorf("log:\n%s", b.logs())
			}
			sets, _ := b.all()
			if n := strings.Count(sets[0].addrs, " ") + 1; n != maxTargets {
				t.Errorf("%d instances are in use", n)
			}
		}, many...)
	})
	t.Run("D07 an ID and an address that come twice", func(t *testing.T) {
		again := order(1)
		again.ID = "orders-1-again"
		inBubble(t, nil, func(_ *testing.T, b *consulBench) {
			b.is("10.0.0.1:9000")
			b.skips(0)
			b.Register(order(1))
			b.after(time.Second).is("10.0.0.1:9000")
		}, order(1), again)
	})
}

func TestConsulSkipsAreLoggedOnce(t *testing.T) {
	bad := order(9)
	bad.Port = 0
	inBubble(t, nil, func(t *testing.T, b *consulBench) {
		b.after(10 * time.Minute)
		if n := strings.Count(b.logs(), "instances skipped"); n != 1 {
			t.Errorf("%d lines for one state", n)
		}
		worse := order(8)
		worse.Address = "127.0.0.1"
		b.Register(worse)
		b.after(time.Second).is("10.0.0.1:9000")
		if n := strings.Count(b.logs(), "instances skipped"); n != 2 {
			t.Errorf("%d lines for two states", n)
		}
	}, order(1), bad)
}
