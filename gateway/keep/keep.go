// Package keep holds values that outlive a reload: connection pools, discovery
// feeds, limiter buckets, breaker states. A value is keyed by what it means, not
// by the snapshot that uses it. Each snapshot opens a Scope and takes what it
// needs with Get; a value is made by the first scope that asks for it and closed
// when the last scope that holds it has been closed. A reload opens the new
// scope before it closes the old one, so whatever both need lives on.
package keep

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Pool is the process-wide set of kept values.
type Pool struct {
	mu     sync.Mutex
	values map[string]*entry
}

type entry struct {
	once  sync.Once
	value any
	err   error
	uses  int // guarded by Pool.mu
}

// NewPool makes an empty pool.
func NewPool() *Pool { return &Pool{values: make(map[string]*entry)} }

// Len is the number of values that live now.
func (p *Pool) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.values)
}

// Scope is one user's set of kept values.
type Scope struct {
	pool *Pool
	mu   sync.Mutex
	held map[string]*entry
	done bool
}

// Scope opens an empty scope.
func (p *Pool) Scope() *Scope { return &Scope{pool: p, held: make(map[string]*entry)} }

// Get returns the value under key, made by create if no open scope holds it.
// Keys read "kind/what it means": "upstream/orders". A value that implements
// io.Closer is closed with its last scope. Asking for a key with another type
// than it was made with is a bug and panics.
func Get[T any](s *Scope, key string, create func() (T, error)) (T, error) {
	e := s.hold(key)
	e.once.Do(func() { e.value, e.err = create() })
	if e.err != nil {
		var zero T
		s.drop(key)
		return zero, e.err
	}
	v, ok := e.value.(T)
	if !ok {
		panic(fmt.Sprintf("keep: %q holds a %T", key, e.value))
	}
	return v, nil
}

func (s *Scope) hold(key string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		panic("keep: Get on a closed scope")
	}
	if e, ok := s.held[key]; ok {
		return e
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	e, ok := s.pool.values[key]
	if !ok {
		e = &entry{}
		s.pool.values[key] = e
	}
	e.uses++
	s.held[key] = e
	return e
}

// Share takes what another open scope holds under keys. It takes all or, when something
// is not there, nothing.
func (s *Scope) Share(from *Scope, keys ...string) bool {
	from.mu.Lock()
	defer from.mu.Unlock()
	for _, key := range keys {
		if _, ok := from.held[key]; !ok {
			return false
		}
	}
	for _, key := range keys {
		s.hold(key) // the pool has it for as long as from does
	}
	return true
}

func (s *Scope) drop(key string) {
	s.mu.Lock()
	e, ok := s.held[key]
	delete(s.held, key)
	s.mu.Unlock()
	if ok {
		_ = s.pool.release(key, e) // a value that failed to be made has nothing to close
	}
}

func (p *Pool) release(key string, e *entry) error {
	p.mu.Lock()
	e.uses--
	last := e.uses == 0
	if last && p.values[key] == e {
		delete(p.values, key)
	}
	p.mu.Unlock()
	if c, ok := e.value.(io.Closer); last && ok && e.err == nil {
		return c.Close()
	}
	return nil
}

// Close lets go of all values of the scope. It may be called twice.
func (s *Scope) Close() error {
	s.mu.Lock()
	held := s.held
	s.held, s.done = nil, true
	s.mu.Unlock()
	var errs []error
	for key, e := range held {
		if err := s.pool.release(key, e); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}
