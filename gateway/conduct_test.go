package gateway

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	f := func(took time.Duration) {
		t.Helper()
		var d Durations
		var last DurationSnapshot
		var counts DurationCounts
		d.Add(took)
		d.Snapshot(&last, &counts)
		got, least, most := counts.Quantile(0.5), max(took, 8*time.Microsecond), max(took+took/8, 8*time.Microsecond)+time.Microsecond
		if got < least || got > most {
			t.Errorf("%v was counted as %v", took, got)
		}
	}
	for took := time.Duration(1); took < 2*time.Minute; took += took/3 + 1 {
		f(took)
	}
	f(0)
	f(-time.Second)
	var d Durations
	d.Add(time.Hour)
	if durationBucket(time.Hour) != durationBuckets-1 || durationBucket(1<<63-1) != durationBuckets-1 {
		t.Error("a very long time has no bucket")
	}
}

func TestDurationQuantiles(t *testing.T) {
	var d Durations
	var last DurationSnapshot
	var counts DurationCounts
	if got := counts.Quantile(0.95); got != 0 {
		t.Errorf("the quantile of nothing is %v", got)
	}
	for i := range 100 {
		d.Add(time.Duration(i+1) * time.Millisecond)
	}
	d.Snapshot(&last, &counts)
	for _, tc := range []struct {
		q    float64
		want time.Duration
	}{{0.01, time.Millisecond}, {0.5, 50 * time.Millisecond}, {0.95, 95 * time.Millisecond}, {1, 100 * time.Millisecond}} {
		if got := counts.Quantile(tc.q); got < tc.want || got > tc.want*9/8 {
			t.Errorf("%v of them took at most %v, want about %v", tc.q, got, tc.want)
		}
	}
	d.Snapshot(&last, &counts)
	if got := counts.Sum(); got != 100 {
		t.Errorf("%v after a snapshot in which nothing was new", got)
	}
	counts.Fade(0.25)
	if got := counts.Sum(); got < 74.99 || got > 75.01 {
		t.Errorf("%v are left of 100 after a quarter was taken away", got)
	}
	if n := testing.AllocsPerRun(100, func() { d.Add(time.Second) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
