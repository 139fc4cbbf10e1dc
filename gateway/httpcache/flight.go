package httpcache

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
)

// Flight is one fetch that several requests wait for.
type Flight struct {
	done    chan struct{}
	once    sync.Once
	outcome Outcome
	err     *gateway.Error
	leave   func()
	url     string
	stale   atomic.Bool // what it brings has been purged already
}

// Outcome is how a flight has ended.
type Outcome uint8

// How flights end.
const (
	Lost     Outcome = iota // its request has ended without an answer; another one may try
	Stored                  // look again
	Unshared                // the answer is for one caller alone
	Failed                  // the service has failed; Err says how if the gateway knows
)

type flightShard struct {
	mu sync.Mutex
	m  map[string]*Flight
}

// Join takes part in the flight under a name. leads says that it is the caller's own,
// which then has to End it whatever happens. url is what is fetched.
func (s *Store) Join(name, url []byte) (f *Flight, leads bool) {
	sh := &s.flights[maphash.Bytes(s.seed, name)%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if f, ok := sh.m[string(name)]; ok {
		return f, false
	}
	own := string(name)
	f = &Flight{done: make(chan struct{}), url: string(url)}
	f.leave = func() {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		delete(sh.m, own)
	}
	sh.m[own] = f
	return f, true
}

// End tells everybody how it ended. Only the first call counts.
func (f *Flight) End(o Outcome, err *gateway.Error) {
	f.once.Do(func() {
		f.outcome, f.err = o, err
		f.leave()
		close(f.done)
	})
}

// Done is closed with the end of the flight.
func (f *Flight) Done() <-chan struct{} { return f.done }

// Result is how the flight ended. It is for after Done.
func (f *Flight) Result() (Outcome, *gateway.Error) { return f.outcome, f.err }

// Outdated says that somebody has purged what the flight is about to bring.
func (f *Flight) Outdated() bool { return f.stale.Load() }

// distrust marks the flights whose answer a purge is about. Which tags an answer will
// have is not known before it is there, so that a tag means all of them.
func (sh *flightShard) distrust(what Purge) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, f := range sh.m {
		if what.All || what.Tag != "" || what.URL == f.url || what.Prefix != "" && strings.HasPrefix(f.url, what.Prefix) {
			f.stale.Store(true)
		}
	}
}

// Reserve asks for room for n more bytes of an answer on its way, which Release gives
// back. There is a quarter of what may be stored.
func (s *Store) Reserve(n int64) bool {
	if s.flying.Add(n) > s.max.Load()/4 {
		s.flying.Add(-n)
		return false
	}
	return true
}

// Release gives back what Reserve has given.
func (s *Store) Release(n int64) { s.flying.Add(-n) }
