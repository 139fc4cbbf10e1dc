package sealed

import (
	"container/list"
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// Memory remembers values for a time, up to a number of them: then the oldest is
// forgotten. Asking takes no lock.
type Memory[V any] struct {
	limit  int
	values sync.Map // string to *remembered[V]
	size   atomic.Int64

	mu    sync.Mutex
	order *list.List // of *remembered[V], in the order in which they came
}

type remembered[V any] struct {
	key   string
	value V
	until time.Time
	place *list.Element
}

// NewMemory makes a memory of up to limit values.
func NewMemory[V any](limit int) *Memory[V] {
	return &Memory[V]{limit: limit, order: list.New()}
}

// Len is the number of values, those included whose time is over and that nobody
// has asked to replace.
func (m *Memory[V]) Len() int { return int(m.size.Load()) }

// Get is the value under a key, if its time is not over.
func (m *Memory[V]) Get(key string, now time.Time) (value V, ok bool) {
	if m.size.Load() == 0 {
		return value, false
	}
	v, ok := m.values.Load(key)
	if !ok || !now.Before(v.(*remembered[V]).until) {
		return value, false
	}
	return v.(*remembered[V]).value, true
}

// Put remembers a value until a time, in the place of any other one under the key.
func (m *Memory[V]) Put(key string, value V, now, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(key, value, now, until)
}

// GetOrPut is the value that is there, or else remembers this one; was says which.
func (m *Memory[V]) GetOrPut(key string, value V, now, until time.Time) (got V, was bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got, was = m.Get(key, now); was {
		return got, true
	}
	m.put(key, value, now, until)
	return value, false
}

// All are the values whose time is not over, in the order in which they came.
func (m *Memory[V]) All(now time.Time) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for e := m.order.Front(); e != nil; e = e.Next() {
			if v := e.Value.(*remembered[V]); now.Before(v.until) && !yield(v.key, v.value) {
				return
			}
		}
	}
}

func (m *Memory[V]) put(key string, value V, now, until time.Time) {
	if old, ok := m.values.Load(key); ok {
		m.remove(old.(*remembered[V]))
	}
	for first := m.order.Front(); first != nil; first = m.order.Front() {
		oldest := first.Value.(*remembered[V])
		if m.order.Len() < m.limit && now.Before(oldest.until) {
			break
		}
		m.remove(oldest)
	}
	v := &remembered[V]{key: key, value: value, until: until}
	v.place = m.order.PushBack(v)
	m.values.Store(key, v)
	m.size.Add(1)
}

func (m *Memory[V]) remove(v *remembered[V]) {
	m.order.Remove(v.place)
	m.values.Delete(v.key)
	m.size.Add(-1)
}
