package gateway

import "sync/atomic"

// Spare is memory that requests can do without, such as a body that is kept in case it
// must be sent again. One request takes little of it, many at a time take all there is: so
// they take it from one bound, and who gets nothing goes on without. A nil Spare has no bound.
type Spare struct{ bound, used atomic.Int64 }

// Bound says how many bytes there are to take; 0 is as many as anybody likes.
func (s *Spare) Bound(bytes int64) { s.bound.Store(bytes) }

// Take says whether bytes may be used, which are to be given back.
func (s *Spare) Take(bytes int64) bool {
	if s == nil {
		return true
	}
	used, bound := s.used.Add(bytes), s.bound.Load()
	if bound > 0 && used > bound {
		s.used.Add(-bytes)
		return false
	}
	return true
}

// Give takes back what was taken.
func (s *Spare) Give(bytes int64) {
	if s != nil {
		s.used.Add(-bytes)
	}
}

// Used is how many bytes are taken now.
func (s *Spare) Used() int64 { return s.used.Load() }
