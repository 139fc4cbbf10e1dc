package obs

import "sync/atomic"

const (
	ringBytes = 7 << 20 // what waiting lines may take; with the slots and a batch less than 8 MiB
	ringSlots = 1 << 15 // a power of two
)

// ring is a bounded queue of lines for many producers and one consumer. Nobody
// ever waits: each slot carries a turn, which says whose it is. A slot of
// position p is free for the producer at turn p, full for the consumer at turn
// p+1, and free again, one lap later, at turn p+len(slots).
type ring struct {
	slots []slot
	head  uint64 // the consumer's
	_     [64]byte
	tail  atomic.Uint64
	_     [64]byte
	bytes atomic.Int64 // capacity of the lines in the ring
}

type slot struct {
	turn atomic.Uint64
	line *[]byte
}

func newRing() *ring {
	r := &ring{slots: make([]slot, ringSlots)}
	for i := range r.slots {
		r.slots[i].turn.Store(uint64(i))
	}
	return r
}

// put hands line over to the consumer, or returns false if there is no room.
func (r *ring) put(line *[]byte) bool {
	size := int64(cap(*line))
	if r.bytes.Add(size) > ringBytes {
		r.bytes.Add(-size)
		return false
	}
	for {
		pos := r.tail.Load()
		s := &r.slots[pos%ringSlots]
		turn := s.turn.Load()
		if turn < pos { // still full from one lap ago
			r.bytes.Add(-size)
			return false
		}
		if turn == pos && r.tail.CompareAndSwap(pos, pos+1) {
			s.line = line
			s.turn.Store(pos + 1)
			return true
		}
	}
}

// take returns the oldest line, or nil if there is none.
func (r *ring) take() *[]byte {
	s := &r.slots[r.head%ringSlots]
	if s.turn.Load() != r.head+1 {
		return nil
	}
	line := s.line
	s.line = nil
	s.turn.Store(r.head + ringSlots)
	r.head++
	r.bytes.Add(-int64(cap(*line)))
	return line
}

// ready says whether take would return a line. Only the consumer may ask.
func (r *ring) ready() bool { return r.slots[r.head%ringSlots].turn.Load() == r.head+1 }

// crowded says that the consumer should hurry.
func (r *ring) crowded() bool { return r.bytes.Load() > ringBytes/2 }
