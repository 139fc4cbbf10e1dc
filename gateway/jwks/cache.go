package jwks

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Answer is what a Loader has got.
type Answer struct {
	Document string
	MaxAge   time.Duration // how long it is good for, as far as its server says; 0 if it does not
}

// Loader gets the document with the keys. again says that it is for the sake of an
// unknown key, which does not justify more than one request.
type Loader func(ctx context.Context, again bool) (Answer, error)

// Options of a Cache. Load is required.
type Options struct {
	Load    Loader
	Refresh time.Duration // how often the document is read again; default 5m
	Stale   time.Duration // how long keys are used that cannot be confirmed; default 24h
	Log     *slog.Logger  // default: none
}

const (
	loadTimeout = 5 * time.Second
	minRefresh  = time.Minute      // however short the document says it is good for
	wantEvery   = time.Minute      // between refreshes for the sake of unknown keys
	firstRetry  = time.Second      // after a failure; doubles
	lastRetry   = 30 * time.Second // as long as there are no keys, or failing
	jitterShare = 10               // a tenth more or less
)

// ErrNoKeys says that there are no keys to verify with, or none that are still good.
var ErrNoKeys = errors.New("the keys of the issuer are not at hand")

// Cache has the keys of one issuer at hand. One goroutine loads them, in the
// background: nobody who asks ever waits.
type Cache struct {
	Options
	current atomic.Pointer[confirmed]
	failed  atomic.Uint64
	wanted  chan struct{}
	ready   chan struct{}
	start   sync.Once
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
}

// confirmed is a set and when the issuer last said that it is in use.
type confirmed struct {
	set      *Set
	document string
	at       time.Time
}

// NewCache makes a cache, which loads nothing before Start.
func NewCache(o Options) *Cache {
	if o.Refresh == 0 {
		o.Refresh = 5 * time.Minute
	}
	if o.Stale == 0 {
		o.Stale = 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cache{Options: o, wanted: make(chan struct{}, 1), ready: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// Fixed is a cache of keys that never change.
func Fixed(set *Set) *Cache {
	c := NewCache(Options{})
	c.start.Do(func() { close(c.ready) })
	c.current.Store(&confirmed{set: set})
	return c
}

// Start begins to load. Further calls do nothing.
func (c *Cache) Start() {
	c.start.Do(func() { c.running.Go(c.run) })
}

// Ready is closed when there are keys for the first time.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Close ends the loading and returns when it has ended.
func (c *Cache) Close() error {
	c.stop()
	c.running.Wait()
	return nil
}

// Set is the current set of keys. It stays the same one as long as the document
// does. The error is ErrNoKeys.
func (c *Cache) Set(now time.Time) (*Set, error) {
	k := c.current.Load()
	if k == nil || !k.at.IsZero() && now.Sub(k.at) > c.Stale {
		return nil, ErrNoKeys
	}
	return k.set, nil
}

// Want says that somebody has shown a token with an unknown key. It never blocks.
// Anybody can make up tokens, so it has an effect once a minute at most.
func (c *Cache) Want() {
	select {
	case c.wanted <- struct{}{}:
	default: // somebody has said so already
	}
}

// unwant forgets who has asked while the keys were loaded. Who still misses his asks again.
func (c *Cache) unwant() {
	select {
	case <-c.wanted:
	default:
	}
}

// State is what can be said of the keys at a moment.
type State struct {
	Keys      int
	Confirmed time.Time // when the issuer last said that they are in use; zero if it never did
	Failures  uint64    // failed attempts to ask it
}

// State says how things are.
func (c *Cache) State() State {
	s := State{Failures: c.failed.Load()}
	if k := c.current.Load(); k != nil {
		s.Keys, s.Confirmed = k.set.Len(), k.at
	}
	return s
}

// run loads now, and again whenever it is time.
func (c *Cache) run() {
	var failures int
	var lastWant time.Time // zero: none yet
	again := false
	for {
		wait := c.Refresh
		begin := time.Now()
		answer, err := c.load(again)
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil:
			failures++
			wait = backoff(failures)
			c.fail(err, failures, wait)
		default:
			if failures > 0 {
				c.recovered(failures)
			}
			failures = 0
			c.unwant()
			if answer.MaxAge > 0 {
				wait = min(wait, max(answer.MaxAge, minRefresh))
			}
		}
		if again {
			lastWant = begin
		}
		if again = c.sleep(jitter(wait), lastWant, failures > 0); c.ctx.Err() != nil {
			return
		}
	}
}

// sleep returns when it is time to load again; again says that it is because of an
// unknown key. While loading fails, unknown keys do not make it come sooner.
func (c *Cache) sleep(wait time.Duration, lastWant time.Time, failing bool) (again bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	wanted := c.wanted
	if failing {
		wanted = nil
	}
	var allowed <-chan time.Time
	for {
		select {
		case <-c.ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-allowed:
			return true
		case <-wanted:
			rest := wantEvery - time.Since(lastWant)
			if lastWant.IsZero() || rest <= 0 {
				return true
			}
			allowed, wanted = time.After(rest), nil
		}
	}
}

func (c *Cache) load(again bool) (answer Answer, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, loadTimeout)
	defer cancel()
	answer, err = c.Load(ctx, again)
	if err != nil {
		return answer, err
	}
	old := c.current.Load()
	if old != nil && old.document == answer.Document {
		c.current.Store(&confirmed{old.set, old.document, time.Now()})
		return answer, nil
	}
	set, err := ParseSet(answer.Document)
	if err != nil {
		return answer, err
	}
	c.current.Store(&confirmed{set, answer.Document, time.Now()})
	for _, why := range set.Ignored {
		c.Log.Warn("a key of the issuer is not used", "reason", why)
	}
	if old == nil {
		close(c.ready)
	}
	return answer, nil
}

// recovered tells the log that a time of failures is over.
func (c *Cache) recovered(failures int) {
	c.Log.Info("the keys of the issuer can be read again", "keys", c.current.Load().set.Len(), "after_failures", failures)
}

// fail tells the log of the first failure, and then less and less often.
func (c *Cache) fail(err error, failures int, wait time.Duration) {
	c.failed.Add(1)
	if failures&(failures-1) == 0 {
		c.Log.Warn("the keys of the issuer cannot be read", "error", err, "failures", failures, "next_attempt", wait.String(), "in_use", c.current.Load() != nil)
	}
}

// backoff is how long to wait after that many failures in a row.
func backoff(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 10), lastRetry)
}

// jitter keeps gateways that were started together from asking together.
func jitter(d time.Duration) time.Duration {
	spread := d / jitterShare
	return d - spread + rand.N(2*spread+1)
}
