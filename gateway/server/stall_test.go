package server

import (
	"testing"
	"testing/synctest"
	"time"
)

// operation is a fake that remembers whether it was cut.
type operation struct {
	limit time.Duration
	cuts  int
}

func (o *operation) patience() time.Duration { return o.limit }
func (o *operation) cut()                    { o.cuts++ }

func TestStall(t *testing.T) {
	f := func(name string, want int, use func(s *stall, o *operation)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &operation{limit: 30 * time.Second}
				s := &stall{of: o}
				use(s, o)
				s.finish()
				pass(time.Hour)
				if o.cuts != want {
					t.Errorf("cut %d times, want %d", o.cuts, want)
				}
			})
		})
	}
	f("too slow", 1, func(s *stall, _ *operation) {
		s.begin(time.Now())
		pass(31 * time.Second)
		s.end()
	})
	f("quick, with long pauses in between", 0, func(s *stall, _ *operation) {
		for range 10 {
			s.begin(time.Now())
			pass(20 * time.Second)
			s.end()
			pass(time.Hour)
		}
	})
	f("the timer of an earlier operation does not cut a later one", 0, func(s *stall, _ *operation) {
		s.begin(time.Now())
		pass(20 * time.Second)
		s.end()
		s.begin(time.Now())
		pass(20 * time.Second)
		s.end()
	})
	f("patience that shrinks", 1, func(s *stall, o *operation) {
		s.begin(time.Now())
		s.end()
		o.limit = time.Second
		s.begin(time.Now())
		pass(2 * time.Second)
		s.end()
	})
	f("never after finish", 0, func(s *stall, _ *operation) {
		s.begin(time.Now())
		s.finish()
		pass(time.Hour)
		s.begin(time.Now())
	})
}

func TestBodyPatience(t *testing.T) {
	f := func(read int64, waited, want time.Duration) {
		t.Helper()
		b := &body{idle: 30 * time.Second, rate: 500, waited: waited}
		b.n.Store(read)
		if got := b.patience(); got != want {
			t.Errorf("after %d bytes in %s: %s, want %s", read, waited, got, want)
		}
	}
	f(0, 0, 10*time.Second)
	f(0, 9*time.Second, time.Second)
	f(10_000, 10*time.Second, 10*time.Second) // has paid for 20 s
	f(1<<20, time.Second, 30*time.Second)
	f(1000, 20*time.Second, 0)
}
