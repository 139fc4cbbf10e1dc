package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsHoldWhatTheySay(t *testing.T) {
	last := -1
	for v := time.Duration(0); v < time.Hour; v += 1 + v/100 {
		b := bucketOf(v)
		if b < last {
			t.Fatalf("%v is in bucket %d, a smaller time in %d", v, b, last)
		}
		last = b
		if most := upperBound(b); most < v || float64(most-v) > 0.016*float64(v)+1 {
			t.Fatalf("%v is in bucket %d, which ends at %v", v, b, most)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var a, b histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(rand.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			a.record(d)
		} else {
			b.record(d)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := a.quantile(q); got < want || float64(got) > 1.02*float64(want)+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if a.quantile(1) != all[len(all)-1] {
		t.Errorf("the longest is %v, want %v", a.quantile(1), all[len(all)-1])
	}
	if new(histogram).quantile(0.5) != 0 {
		t.Error("of nothing there is a quantile")
	}
}
