package store

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway/obs"
)

// silent is a journal whose store has never answered.
func silent(t *testing.T) (*Journal, *memory) {
	t.Helper()
	o := Options{Addresses: []string{"127.0.0.1:1"}, PoolSize: 1, Timeout: 20 * time.Millisecond, Prefix: "pithead"}
	s := New(o, obs.NewMetrics(obs.Build{}).Store(o.Name()), slog.New(slog.DiscardHandler))
	m := &memory{entries: make(map[string]Entry)}
	j := NewJournal(s, "logouts", 10, m)
	t.Cleanup(func() { _ = s.Close() })
	return j, m
}

// Nobody waits for a store that is known to be away, nor for long when that is not known.
func TestTellWaits(t *testing.T) {
	entry := Entry{"a", time.Now(), time.Now().Add(time.Hour)}
	synctest.Test(t, func(t *testing.T) {
		j, _ := silent(t)
		j.begin.Do(func() { j.redis.Spawn(j.follow) })
		start := time.Now()
		for range 3 {
			if err := j.Tell(t.Context(), entry); !errors.Is(err, ErrAway) {
				t.Errorf("told: %v", err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("it has waited %s for a store that is away", d)
		}
		<-time.After(time.Hour)
		if _, ever := j.Heard(); ever {
			t.Error("it has heard something")
		}
		_ = j.Close()
		if err := j.Tell(t.Context(), entry); !errors.Is(err, ErrAway) {
			t.Errorf("told after the end: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		j, _ := silent(t)
		start := time.Now()
		err := j.Tell(t.Context(), entry) // nobody takes it
		if d := time.Since(start); d != tellWait || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it has waited %s: %v", d, err)
		}
		_ = j.Close()
	})
}

// What waits to be told is bounded, too: the newest are kept.
func TestPendingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := silent(t)
		j.begin.Do(func() { j.redis.Spawn(j.follow) })
		for i := range 25 {
			_ = j.Tell(t.Context(), Entry{string(rune('a' + i)), time.Now(), time.Now().Add(time.Hour)})
		}
		synctest.Wait()
		_ = j.Close()
		if n := len(j.pending); n != 10 || j.pending[9].Name != "y" {
			t.Errorf("%d are pending: %v", n, j.pending)
		}
	})
}

// The age of what is known grows with the time in which nothing is heard.
func TestHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, _ := silent(t)
		<-time.After(time.Minute)
		j.heard.Store(int64(time.Since(j.zero)))
		<-time.After(3 * time.Second)
		if ago, ever := j.Heard(); ago != 3*time.Second || !ever {
			t.Errorf("%s, %t", ago, ever)
		}
		_ = j.Close()
	})
}
