package obs

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
)

// Lines of one producer come out in order, none twice, and exactly those that
// were refused are missing.
func TestRing(t *testing.T) {
	const producers, each = 4, 40_000 // several laps
	r := newRing()
	var wg sync.WaitGroup
	var refused [producers]uint64
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				line := make([]byte, 0, 16)
				line = binary.BigEndian.AppendUint64(line, uint64(p))
				line = binary.BigEndian.AppendUint64(line, uint64(i))
				if !r.put(&line) {
					refused[p]++
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()

	var taken, next [producers]uint64
	take := func() bool {
		line := r.take()
		if line == nil {
			return false
		}
		p, i := binary.BigEndian.Uint64(*line), binary.BigEndian.Uint64((*line)[8:])
		if i < next[p] {
			t.Fatalf("line %d of producer %d after line %d", i, p, next[p]-1)
		}
		next[p] = i + 1
		taken[p]++
		return true
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			if !take() {
				runtime.Gosched()
			}
		}
	}
	for take() {
	}
	for p := range producers {
		if taken[p]+refused[p] != each {
			t.Errorf("producer %d: %d taken + %d refused of %d", p, taken[p], refused[p], each)
		}
	}
	if n := r.bytes.Load(); n != 0 {
		t.Errorf("%d bytes in an empty ring", n)
	}
}

func TestRingBounds(t *testing.T) {
	fill := func(size int) (lines int) {
		t.Helper()
		r := newRing()
		for line := make([]byte, size); r.put(&line); lines++ {
		}
		for range lines {
			if r.take() == nil {
				t.Fatalf("fewer than %d lines of %d bytes came out", lines, size)
			}
		}
		if r.take() != nil || r.ready() || r.bytes.Load() != 0 {
			t.Error("not empty")
		}
		return lines
	}
	if n := fill(1); n != ringSlots {
		t.Errorf("%d short lines, want %d", n, ringSlots)
	}
	if n := fill(1 << 20); n != ringBytes>>20 {
		t.Errorf("%d lines of 1 MiB", n)
	}
	if n := fill(ringBytes + 1); n != 0 {
		t.Errorf("%d lines longer than the ring", n)
	}
}
