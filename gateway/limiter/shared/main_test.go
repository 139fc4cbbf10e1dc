package shared

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/store"
	"github.com/pithead/pithead/test/redistest"
)

// TestMain bears with connections that are still being made when the last test ends: the
// client of Redis makes them beside the questions, and gives up after a while.
func TestMain(m *testing.M) {
	code := m.Run()
	left := goleak.Find()
	for late := time.Now().Add(20 * time.Second); left != nil && time.Now().Before(late); {
		left = goleak.Find()
	}
	if left != nil && code == 0 {
		_, _ = fmt.Fprintln(os.Stderr, left)
		code = 1
	}
	os.Exit(code)
}

// patience is how long tests wait for Redis: the machine may be busy.
const patience = 2 * time.Second

func perSecond(count, burst int64) limiter.Limit {
	return limiter.Limit{Name: "per-second", Count: count, Per: time.Second, Burst: burst}
}

func perDay(count int64) limiter.Limit {
	return limiter.Limit{Name: "per-day", Count: count, Per: 24 * time.Hour, Burst: count}
}

func at(s *redistest.Server) store.Options {
	return store.Options{Addresses: []string{s.Addr}, PoolSize: 16, Timeout: patience, Prefix: "pithead"}
}

// gateway is a store of its own, as another process would have it.
func gateway(t testing.TB, o store.Options) *store.Redis {
	t.Helper()
	return gatewayWith(t, o, obs.NewMetrics(obs.Build{}).Store(o.Name()))
}

func gatewayWith(t testing.TB, o store.Options, counts *obs.Store) *store.Redis {
	t.Helper()
	s := store.New(o, counts, textLog(t.Output()))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// started is a store that has found Redis.
func started(t testing.TB, o store.Options) *store.Redis {
	t.Helper()
	return startedWith(t, o, obs.NewMetrics(obs.Build{}).Store(o.Name()))
}

func startedWith(t testing.TB, o store.Options, counts *obs.Store) *store.Redis {
	t.Helper()
	s := gatewayWith(t, o, counts)
	awaitReady(t, s)
	return s
}

func awaitReady(t testing.TB, s *store.Redis) {
	t.Helper()
	select {
	case <-s.Start():
	case <-time.After(20 * time.Second):
		t.Fatal("redis is not found")
	}
	await(t, s.Ready)
}

// await waits for what happens on its own.
func await(t testing.TB, ok func() bool) {
	t.Helper()
	awaitFor(t, 20*time.Second, ok)
}

func awaitFor(t testing.TB, limit time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("it does not happen")
		case <-tick.C:
		}
	}
}

// limits makes a limiter of one block.
func limits(s *store.Redis, lease int64, limits ...limiter.Limit) *Limiter {
	return New(s, Settings{Name: "fair", Limits: limits, Cost: 1, Lease: lease, OnError: OnErrorLocal, MaxKeys: 1000})
}

// someone is a caller.
func (l *Limiter) someone(n int) (key uint64, id []byte) {
	id = strconv.AppendInt(nil, int64(n), 10)
	return l.Hash(id), id
}

// admitted is how many of n requests of a caller pass.
func (l *Limiter) admitted(caller, n int) (passed int64) {
	key, id := l.someone(caller)
	for range n {
		if d, _ := l.Take(key, id); d.OK {
			passed++
		}
	}
	return passed
}
