package limiter

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxLimits is how many limits a table may have.
const MaxLimits = 4

// Table holds the buckets of many keys. All methods may be called at the same time.
type Table struct {
	seed   maphash.Seed
	secret [2]uint64
	zero   time.Time // has a monotonic reading, so changes of the system's time mean nothing here
	store  atomic.Pointer[store]
	_      [64]byte // what changes with every request of a flood is not beside what all requests read

	crowded atomic.Uint64
	mu      sync.Mutex // orders Configure
}

// New makes a table of at most maxKeys keys. The limits, at most MaxLimits of
// them, have passed Check.
func New(limits []Limit, maxKeys int) *Table {
	t := &Table{seed: maphash.MakeSeed(), zero: time.Now()}
	t.secret = [2]uint64{t.Hash("first"), t.Hash("second")}
	t.store.Store(newStore(limits, maxKeys))
	return t
}

// Configure changes the limits and the number of keys. Keys stay used to the same
// share of each limit that keeps its name. What is taken while that is being worked
// out may be forgotten; if nothing changes, nothing is.
func (t *Table) Configure(limits []Limit, maxKeys int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.store.Load()
	same := slices.EqualFunc(old.meters, limits, func(m meter, l Limit) bool { return m.Limit == l })
	if same && old.maxKeys == maxKeys {
		return
	}
	s := newStore(limits, maxKeys)
	s.adopt(old, t.now())
	t.store.Store(s)
}

func (t *Table) now() int64 { return int64(time.Since(t.zero)) }

// Hash is a part of a key. It has a secret of this table, so nobody outside can find two
// texts with one hash.
func (t *Table) Hash(s string) uint64 { return maphash.String(t.seed, s) }

// HashBytes is Hash.
func (t *Table) HashBytes(b []byte) uint64 { return maphash.Bytes(t.seed, b) }

// Join makes one key of two parts. Their order matters.
func (t *Table) Join(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^t.secret[0], b^t.secret[1])
	return hi ^ lo ^ bits.RotateLeft64(a, 17)
}

// Decision is what Take has decided.
type Decision struct {
	OK    bool
	Limit string        // the limit that takes longest to let the request pass; "" if it may pass
	Wait  time.Duration // until it would
}

// Take takes cost tokens from the bucket of a key for every limit, or none. It
// allocates nothing.
func (t *Table) Take(key uint64, cost int64) Decision {
	s, now := t.store.Load(), t.now()
	b := t.bucket(s, key, now)
	if len(s.meters) > 1 {
		if d := s.peek(b, cost, now); !d.OK {
			return d
		}
	}
	var before, after [MaxLimits]uint64
	for i := range s.meters {
		m := &s.meters[i]
		for {
			full := b[i].Load()
			next := m.after(int64(full), now, cost)
			if wait := next - now - m.room; wait > 0 {
				putBack(b[:i], before[:], after[:])
				return Decision{Limit: m.Name, Wait: time.Duration(wait)}
			}
			if b[i].CompareAndSwap(full, uint64(next)) {
				before[i], after[i] = full, uint64(next)
				break
			}
		}
	}
	return Decision{OK: true}
}

// putBack undoes what has been taken from the first limits, because a later one was used
// up meanwhile. A bucket that somebody else has taken from since stays as it is: it
// may have been full in between, and a token too many would be worse than one too few.
func putBack(b bucket, before, after []uint64) {
	for i := range b {
		b[i].CompareAndSwap(after[i], before[i])
	}
}

// peek decides without taking anything.
func (s *store) peek(b bucket, cost, now int64) Decision {
	d := Decision{OK: true}
	for i := range s.meters {
		m := &s.meters[i]
		wait := time.Duration(m.after(int64(b[i].Load()), now, cost) - now - m.room)
		if wait > d.Wait {
			d = Decision{Limit: m.Name, Wait: wait}
		}
	}
	return d
}

// bucket is that of a key, its own one if that can be had.
func (t *Table) bucket(s *store, key uint64, now int64) bucket {
	key = max(key, 1) // 0 is a slot without a key
	if b, ok := s.find(key); ok {
		return b
	}
	b, own := s.claim(key, now)
	if !own {
		t.crowded.Add(1)
	}
	return b
}

// Peek is what Take would decide, and takes nothing.
func (t *Table) Peek(key uint64, cost int64) Decision {
	s := t.store.Load()
	b, ok := s.find(max(key, 1))
	if !ok {
		b = make(bucket, len(s.meters))
	}
	return s.peek(b, cost, t.now())
}

// Charge takes tokens that have been used already, as far as the debt of each limit allows.
func (t *Table) Charge(key uint64, tokens int64) {
	s, now := t.store.Load(), t.now()
	b := t.bucket(s, key, now)
	for i := range s.meters {
		for {
			full := b[i].Load()
			next := uint64(s.meters[i].charged(int64(full), now, tokens))
			if next == full || b[i].CompareAndSwap(full, next) {
				break
			}
		}
	}
}

// Levels tells how full the bucket of a key is, by limit. It adds to all, which
// needs room for MaxLimits to go without an allocation.
func (t *Table) Levels(key uint64, all []Level) []Level {
	s, now := t.store.Load(), t.now()
	b, ok := s.find(max(key, 1))
	if !ok {
		first, _ := s.places(max(key, 1))
		b = s.at(first, shared)
	}
	for i := range s.meters {
		all = append(all, s.meters[i].level(int64(b[i].Load()), now))
	}
	return all
}

// Look tells how full the bucket is that the next request of a key would find, by limit. It
// changes nothing: a key that has no slot gets none.
func (t *Table) Look(key uint64) (all []Level) {
	s, now := t.store.Load(), t.now()
	b := s.next(max(key, 1), now)
	for i := range s.meters {
		all = append(all, s.meters[i].level(int64(b[i].Load()), now))
	}
	return all
}

// Stats are the numbers of a table.
type Stats struct {
	Keys    int    // whose buckets are not full
	Crowded uint64 // decisions about keys that share a bucket, because the table is full
}

// Stats counts. It looks at every key.
func (t *Table) Stats() Stats {
	return Stats{t.store.Load().busy(t.now()), t.crowded.Load()}
}
