package obs

import (
	"slices"
	"sync"
	"sync/atomic"
)

// table is a small set of values that is read without a lock and hardly ever
// grows. Its rows are never changed in place, so a reader needs one atomic load.
type table[K comparable, V any] struct {
	mu   sync.Mutex // orders writers
	rows atomic.Pointer[[]row[K, V]]
}

type row[K comparable, V any] struct {
	key   K
	value *V
}

func (t *table[K, V]) all() []row[K, V] {
	if rows := t.rows.Load(); rows != nil {
		return *rows
	}
	return nil
}

// get finds the value of key, or adds a zero one.
func (t *table[K, V]) get(key K) *V {
	if v := find(t.all(), key); v != nil {
		return v
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := t.all()
	if v := find(rows, key); v != nil {
		return v
	}
	v := new(V)
	rows = append(slices.Clip(rows), row[K, V]{key, v})
	t.rows.Store(&rows)
	return v
}

func find[K comparable, V any](rows []row[K, V], key K) *V {
	for i := range rows {
		if rows[i].key == key {
			return rows[i].value
		}
	}
	return nil
}

// retain forgets the rows that keep refuses. Who holds the value of one may go
// on counting in it; nobody sees it any more.
func (t *table[K, V]) retain(keep func(K, *V) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := t.all()
	gone := make([]bool, 0, maxSeries) // on the stack: most tables lose nothing at a reload
	for _, r := range rows {
		gone = append(gone, !keep(r.key, r.value))
	}
	if !slices.Contains(gone, true) {
		return
	}
	kept := make([]row[K, V], 0, len(rows))
	for i, r := range rows {
		if !gone[i] {
			kept = append(kept, r)
		}
	}
	t.rows.Store(&kept)
}
