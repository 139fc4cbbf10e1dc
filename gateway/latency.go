package gateway

import (
	"math"
	"sync/atomic"
	"time"
)

// Latency is a moving average of the time that an endpoint takes for the head of
// an answer. A slower answer raises it at once, faster ones bring it down over
// the decay, and so does the absence of answers: an endpoint that was slow is
// tried again some day. It is kept only for a policy that follows it.
//
// Value and time of the last change share one word, so that any number of
// requests may report without a lock.
type Latency struct {
	decay atomic.Int64  // nanoseconds; 0 while nobody follows
	state atomic.Uint64 // float32 seconds, then 32 bits of milliseconds since clockZero; 0 is nothing known
}

// clockZero makes the clock of Latency monotonic: a change of the system's time
// must not freeze averages.
var clockZero = time.Now()

// penaltyShare of the decay is the least that an endpoint is taken to need after
// a failure: 1 s of 10 s. Without it the endpoint that fails fastest would look
// like the best one.
const penaltyShare = 10

// Follow begins to keep the average, or changes its decay.
func (l *Latency) Follow(decay time.Duration) { l.decay.Store(int64(decay)) }

// Followed says whether a policy wants the average.
func (l *Latency) Followed() bool { return l.decay.Load() > 0 }

// Observe takes in that an answer at now has taken that long.
func (l *Latency) Observe(now time.Time, took time.Duration) {
	decay := l.decay.Load()
	if decay <= 0 {
		return
	}
	tick, sample := tickOf(now), float32(max(took, 1).Seconds())
	for {
		old := l.state.Load()
		value, since := unpack(old, tick)
		switch {
		case sample >= value:
			value = sample
		case since <= 0:
			return // time moves the average, not the number of answers
		default:
			keep := fade(since, decay)
			value = value*keep + sample*(1-keep)
		}
		if l.state.CompareAndSwap(old, pack(value, tick)) {
			return
		}
	}
}

// Fail takes in that an attempt has failed at now.
func (l *Latency) Fail(now time.Time) {
	decay := l.decay.Load()
	if decay <= 0 {
		return
	}
	tick, penalty := tickOf(now), float32(time.Duration(decay/penaltyShare).Seconds())
	for {
		old := l.state.Load()
		value, since := unpack(old, tick)
		if value*fade(since, decay) >= penalty || l.state.CompareAndSwap(old, pack(penalty, tick)) {
			return
		}
	}
}

// At is the average at now in seconds; 0 when there is none.
func (l *Latency) At(now time.Time) float64 {
	value, since := unpack(l.state.Load(), tickOf(now))
	if value == 0 {
		return 0
	}
	return float64(value * fade(since, l.decay.Load()))
}

// tickOf counts milliseconds. It wraps after 49 days, which only an endpoint that
// gets a request a month would notice.
func tickOf(now time.Time) uint32 { return uint32(now.Sub(clockZero).Milliseconds()) }

func pack(value float32, tick uint32) uint64 {
	return uint64(math.Float32bits(value))<<32 | uint64(tick)
}

// unpack also tells the milliseconds from the last change to tick.
func unpack(state uint64, tick uint32) (value float32, since int32) {
	return math.Float32frombits(uint32(state >> 32)), int32(tick - uint32(state))
}

// fade is what is left of a value after that many milliseconds.
func fade(since int32, decay int64) float32 {
	if since <= 0 || decay <= 0 {
		return 1
	}
	return float32(math.Exp(-float64(since) * float64(time.Millisecond) / float64(decay)))
}
