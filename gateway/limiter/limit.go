package limiter

import (
	"fmt"
	"math"
	"time"
)

const (
	// minInterval is the least time between two tokens. Intervals are rounded up to
	// whole nanoseconds, and this keeps the error below 0.1 %.
	minInterval = time.Microsecond

	// maxRefill is the longest that a bucket may take to fill. It keeps sums of times
	// far from overflowing.
	maxRefill = 366 * 24 * time.Hour
)

// Limit is a rate with a burst.
type Limit struct {
	Name  string        // unique within a table
	Count int64         // tokens that come back in every Per
	Per   time.Duration //
	Burst int64         // tokens of a full bucket
	Debt  int64         // tokens that Charge may take from an empty bucket
}

// Check says what is wrong with the numbers.
func (l Limit) Check() error {
	switch {
	case l.Count < 1 || l.Per <= 0:
		return fmt.Errorf("a rate is at least 1 in some time")
	case int64(l.Per)/l.Count < int64(minInterval):
		return fmt.Errorf("a rate is at most 1000000/s")
	case l.Burst < 1:
		return fmt.Errorf("a burst is at least 1")
	case l.Burst > int64(maxRefill/l.Interval()):
		return fmt.Errorf("a burst of %d takes more than a year to come back", l.Burst)
	case l.Debt < 0:
		return fmt.Errorf("a debt is at least 0")
	case l.Debt > int64(maxRefill/l.Interval()):
		return fmt.Errorf("a debt of %d takes more than a year to pay", l.Debt)
	}
	return nil
}

// Interval is the time in which one token comes back.
func (l Limit) Interval() time.Duration {
	return (l.Per + time.Duration(l.Count) - 1) / time.Duration(l.Count)
}

// Refill is how long an empty bucket takes to fill.
func (l Limit) Refill() time.Duration { return time.Duration(l.Burst) * l.Interval() }

// meter is a limit in nanoseconds. A bucket is the time at which it will be full.
type meter struct {
	Limit
	each int64 // time of one token
	room int64 // how far ahead of now a bucket without debt may be
	most int64 // and one with debt
}

func newMeter(l Limit) meter {
	each := int64(l.Interval())
	return meter{l, each, l.Burst * each, (l.Burst + l.Debt) * each}
}

// after is the bucket once cost tokens have been taken from it. A cost above the
// burst is that of the whole burst: more is never there.
func (m *meter) after(full, now, cost int64) int64 {
	return max(full, now) + min(cost, m.Burst)*m.each
}

// charged is the bucket once as many tokens as the debt allows have been taken.
func (m *meter) charged(full, now, tokens int64) int64 {
	tokens = min(tokens, m.Burst+m.Debt+1) // the product stays small
	return max(full, min(max(full, now)+tokens*m.each, now+m.most))
}

// used is the share of the burst that is missing; above 1 there is debt.
func (m *meter) used(full, now int64) float64 {
	return float64(max(full-now, 0)) / float64(m.room)
}

// Level is how full a bucket is.
type Level struct {
	Limit     Limit
	Remaining int64         // whole tokens
	Full      time.Duration // until the bucket is full
}

func (m *meter) level(full, now int64) Level {
	missing := max(full-now, 0)
	return Level{m.Limit, max(m.room-missing, 0) / m.each, time.Duration(missing)}
}

// converted is a bucket of old as a bucket of m, used to the same share.
func (m *meter) converted(old *meter, full, now int64) int64 {
	share := min(old.used(full, now), float64(m.most)/float64(m.room))
	return now + int64(math.Ceil(share*float64(m.room)))
}
