package server

import "testing"

func TestResets(t *testing.T) {
	f := func(name string, streams, taken uint32, excessive bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var r resets
			r.streams.Store(streams)
			r.taken.Store(taken - 1)
			if got := r.excessive(); got != excessive {
				t.Errorf("%d of %d streams: %v, want %v", taken, streams, got, excessive)
			}
		})
	}
	f("an impatient client", 20, 20, false)
	f("one that does nothing else", maxResets, maxResets, true)
	f("a long connection with many of them", 10*maxResets, maxResets, false)
	f("half of them", 2*maxResets, maxResets, false)
	f("most of them", 2*maxResets, maxResets+1, true)
}
