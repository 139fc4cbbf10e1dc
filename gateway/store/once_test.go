package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/test/redistest"
)

// Of all gateways together one uses a name.
func TestOnce(t *testing.T) {
	server := redistest.Start(t)
	one, two := started(t, at(server)), started(t, at(server))
	f := func(s *Redis, name string, want bool) {
		t.Helper()
		if first, err := s.Once(t.Context(), name, time.Minute); err != nil || first != want {
			t.Errorf("%s: %t, %v", name, first, err)
		}
	}
	f(one, "state of ada", true)
	f(two, "state of ada", false)
	f(one, "state of ada", false)
	f(two, "state of eve", true)
	var firsts atomic.Int64
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			first, err := []*Redis{one, two}[i%2].Once(t.Context(), "all at once", time.Minute)
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d were the first", n)
	}
	keys := fmt.Sprint(server.Do("KEYS", "*"))
	if strings.Contains(keys, "ada") || !strings.Contains(keys, "pithead:once:") {
		t.Errorf("keys %s", keys)
	}
	t.Run("for a time", func(t *testing.T) {
		if first, err := one.Once(t.Context(), "short", 50*time.Millisecond); err != nil || !first {
			t.Fatal(first, err)
		}
		await(t, "it is forgotten", func() bool {
			first, err := two.Once(t.Context(), "short", time.Millisecond)
			return first && err == nil
		})
	})
}

func TestOnceAway(t *testing.T) {
	server := redistest.Start(t)
	if _, err := connect(t, at(server)).Once(t.Context(), "a", time.Minute); !errors.Is(err, ErrAway) {
		t.Errorf("before it has begun: %v", err)
	}
	o := at(server)
	o.Timeout = 20 * time.Millisecond
	s := started(t, o)
	server.Pause()
	start := time.Now()
	if _, err := s.Once(t.Context(), "a", time.Minute); err == nil {
		t.Error("no error")
	}
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("it took %s", d)
	}
	await(t, "the store is away", func() bool {
		_, err := s.Once(t.Context(), "a", time.Minute)
		return errors.Is(err, ErrAway)
	})
	server.Resume()
	await(t, "the store is back", func() bool {
		_, err := s.Once(t.Context(), "b", time.Minute)
		return err == nil
	})
}
