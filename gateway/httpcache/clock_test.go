package httpcache

import (
	"net/http"
	"testing"
	"time"
	"unsafe"
)

// jumped is t as it would have been read if somebody had moved the clock on the wall by
// d before: the monotonic reading is the same. The first word of a time.Time has the
// seconds of the wall clock above 30 bits of nanoseconds, if it has a monotonic reading.
func jumped(t time.Time, d time.Duration) time.Time {
	*(*uint64)(unsafe.Pointer(&t)) += uint64(d/time.Second) << 30 // there is no other way to have such a time
	return t
}

// TestFault40CacheAgesByTheMonotonicClock moves the clock by an hour while an answer is
// stored.
func TestFault40CacheAgesByTheMonotonicClock(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour on": time.Hour, "an hour back": -time.Hour, "a leap second": time.Second} {
		t.Run(name, func(t *testing.T) {
			stored := time.Now()
			now := jumped(stored.Add(10*time.Second), jump)
			if got := now.Round(0).Sub(stored.Round(0)); got != jump+10*time.Second {
				t.Fatalf("the wall clock has moved by %v", got)
			}
			p := Policy{StaleWhileFailed: time.Minute}
			terms, why := p.Judge(Asked{}, 200, http.Header{"Cache-Control": {"max-age=60"}}, stored, stored)
			if why != "" {
				t.Fatal(why)
			}
			asks := ParseControl(nil)
			if age, left := terms.Age(now), terms.Left(now); age != 10*time.Second || left != 50*time.Second {
				t.Errorf("%v old and fresh for %v, want 10s and 50s", age, left)
			}
			if use := terms.Use(&asks, now); use != UseFresh {
				t.Errorf("use %d of a fresh answer", use)
			}
			late := jumped(stored.Add(2*time.Minute+time.Second), jump)
			if terms.Use(&asks, late) != UseFetch || terms.Rescues(&asks, late) {
				t.Error("given after its time")
			}
		})
	}
}
