package keep

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

type closer struct {
	closed int
	err    error
}

func (c *closer) Close() error { c.closed++; return c.err }

func TestValuesLiveAsLongAsAScopeHoldsThem(t *testing.T) {
	pool := NewPool()
	create := func() (*closer, error) { return &closer{}, nil }
	one := pool.Scope()
	a, _ := Get(one, "upstream/a", create)
	b, _ := Get(one, "upstream/b", create)
	if again, _ := Get(one, "upstream/a", create); again != a {
		t.Error("a scope got two values for a key")
	}
	two := pool.Scope()
	if kept, _ := Get(two, "upstream/a", create); kept != a {
		t.Error("the value was made again")
	}
	if err := errors.Join(one.Close(), one.Close()); err != nil {
		t.Error(err)
	}
	if a.closed != 0 || b.closed != 1 || pool.Len() != 1 {
		t.Errorf("after the first scope: a closed %d times, b %d times, %d values", a.closed, b.closed, pool.Len())
	}
	if err := two.Close(); err != nil || a.closed != 1 || pool.Len() != 0 {
		t.Errorf("after the second scope: %v, a closed %d times, %d values", err, a.closed, pool.Len())
	}
}

func TestErrors(t *testing.T) {
	pool, boom := NewPool(), errors.New("boom")
	scope := pool.Scope()
	if _, err := Get(scope, "x", func() (*closer, error) { return nil, boom }); !errors.Is(err, boom) || pool.Len() != 0 {
		t.Errorf("%v, %d values", err, pool.Len())
	}
	if _, err := Get(scope, "x", func() (*closer, error) { return &closer{err: boom}, nil }); err != nil {
		t.Errorf("a failure is remembered: %v", err)
	}
	if err := scope.Close(); !errors.Is(err, boom) {
		t.Errorf("close: %v", err)
	}
	scope = pool.Scope()
	if _, err := Get(scope, "n", func() (int, error) { return 7, nil }); err != nil {
		t.Fatal(err)
	}
	panics := func(name string, misuse func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s is accepted", name)
			}
		}()
		misuse()
	}
	panics("another type", func() { _, _ = Get(scope, "n", func() (string, error) { return "", nil }) })
	if err := scope.Close(); err != nil {
		t.Fatal(err)
	}
	panics("a closed scope", func() { _, _ = Get(scope, "n", func() (int, error) { return 7, nil }) })
}

func TestConcurrentScopes(t *testing.T) {
	pool := NewPool()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 200 {
				scope := pool.Scope()
				v, err := Get(scope, fmt.Sprint((i+j)%3), func() (*closer, error) { return &closer{}, nil })
				if err != nil || v == nil || v.closed != 0 {
					t.Errorf("got %v, %v", v, err)
				}
				if err := scope.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if pool.Len() != 0 {
		t.Errorf("%d values left", pool.Len())
	}
}
