package middleware

import "sync"

// shown is a part of what blocks share and reloads leave alone. It shows it in the metrics
// from the first snapshot that uses it to the last.
type shown struct {
	once   sync.Once
	forget func()
}

// show calls watch the first time. forget may be called once.
func (s *shown) show(watch func() (forget func())) {
	s.once.Do(func() { s.forget = watch() })
}

// Close implements io.Closer. Whoever comes to show it now is too late.
func (s *shown) Close() error {
	s.once.Do(func() {})
	if s.forget != nil {
		s.forget()
	}
	return nil
}
