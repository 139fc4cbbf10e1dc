package limiter

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	ways    = 8   // buckets of a group: one cache line of keys
	shared  = 0   // the way that keys without a slot share
	hot     = 0.5 // the share of its burst that a key has used if it must keep its slot
	stripes = 64  // locks of those who look for a slot
)

// bucket has a word for each limit. It is never nil.
type bucket []atomic.Uint64

// store is a table of buckets for one set of limits. The words of a group are the
// keys of its ways, then the buckets.
type store struct {
	meters  []meter
	maxKeys int
	groups  uint64
	stride  int
	words   []atomic.Uint64
	locks   [stripes]sync.Mutex // by key, so that no key gets two slots
}

func newStore(limits []Limit, maxKeys int) *store {
	s := &store{maxKeys: maxKeys, stride: ways * (1 + len(limits))}
	for _, l := range limits {
		s.meters = append(s.meters, newMeter(l))
	}
	s.groups = uint64(max(maxKeys/(ways-1), 1))
	s.words = make([]atomic.Uint64, int(s.groups)*s.stride)
	return s
}

// places are the two groups that a key may be in.
func (s *store) places(key uint64) (first, second int) {
	a, _ := bits.Mul64(key, s.groups)
	b, _ := bits.Mul64(bits.RotateLeft64(key, 32), s.groups)
	return int(a) * s.stride, int(b) * s.stride
}

func (s *store) at(group, way int) bucket {
	from := group + ways + way*len(s.meters)
	return s.words[from : from+len(s.meters)]
}

// find is the bucket of a key that has a slot.
func (s *store) find(key uint64) (bucket, bool) {
	first, second := s.places(key)
	for _, group := range [...]int{first, second} {
		keys := s.words[group : group+ways]
		for way := shared + 1; way < ways; way++ {
			if keys[way].Load() == key {
				return s.at(group, way), true
			}
		}
	}
	return nil, false
}

// claim finds the bucket of a key, and a slot for one that has none. own is false
// if there is no slot to be had.
func (s *store) claim(key uint64, now int64) (b bucket, own bool) {
	lock := &s.locks[key%stripes]
	lock.Lock()
	defer lock.Unlock()
	for {
		if b, ok := s.find(key); ok {
			return b, true
		}
		v := s.victim(key, now)
		if v.used > hot {
			first, _ := s.places(key)
			return s.at(first, shared), false
		}
		if s.words[v.group+v.way].CompareAndSwap(v.key, key) {
			return s.at(v.group, v.way), true
		}
	}
}

// next is the bucket that claim would find, which stays whose it is.
func (s *store) next(key uint64, now int64) bucket {
	if b, ok := s.find(key); ok {
		return b
	}
	v := s.victim(key, now)
	if v.used > hot {
		first, _ := s.places(key)
		return s.at(first, shared)
	}
	return s.at(v.group, v.way)
}

// slot is where a key is, or 0 for none, and how much of its bucket is used.
type slot struct {
	group, way int
	key        uint64
	used       float64
}

// victim is the slot that a key may take over: the one with the fullest bucket, in
// the group with more of those that nobody has had yet.
func (s *store) victim(key uint64, now int64) slot {
	first, second := s.places(key)
	if s.unclaimed(second) > s.unclaimed(first) {
		first, second = second, first
	}
	best := slot{used: 2 * hot}
	for _, group := range [...]int{first, second} {
		for way := shared + 1; way < ways; way++ {
			v := slot{group, way, s.words[group+way].Load(), 0}
			if v.key == 0 {
				return v
			}
			if v.used = s.used(s.at(group, way), now); v.used < best.used {
				best = v
			}
		}
	}
	return best
}

func (s *store) unclaimed(group int) (n int) {
	for way := shared + 1; way < ways; way++ {
		if s.words[group+way].Load() == 0 {
			n++
		}
	}
	return n
}

// used is that of the limit that is nearest to its end.
func (s *store) used(b bucket, now int64) (most float64) {
	for i := range s.meters {
		most = max(most, s.meters[i].used(int64(b[i].Load()), now))
	}
	return most
}

// busy is the number of keys whose buckets are not full.
func (s *store) busy(now int64) (n int) {
	s.each(func(_ uint64, b bucket) {
		if s.used(b, now) > 0 {
			n++
		}
	})
	return n
}

func (s *store) each(f func(key uint64, b bucket)) {
	for group := 0; group < len(s.words); group += s.stride {
		for way := shared + 1; way < ways; way++ {
			if key := s.words[group+way].Load(); key != 0 {
				f(key, s.at(group, way))
			}
		}
	}
}

// adopt takes over the keys of another store, each used to the same share of the
// limits that both have by name. Those that share a bucket begin anew.
func (s *store) adopt(old *store, now int64) {
	from := make([]int, len(s.meters))
	for i, m := range s.meters {
		from[i] = slices.IndexFunc(old.meters, func(o meter) bool { return o.Name == m.Name })
	}
	old.each(func(key uint64, b bucket) {
		if old.used(b, now) == 0 {
			return
		}
		own, _ := s.claim(key, now)
		for i, j := range from {
			if j >= 0 {
				full := s.meters[i].converted(&old.meters[j], int64(b[j].Load()), now)
				own[i].Store(max(own[i].Load(), uint64(full)))
			}
		}
	})
}
