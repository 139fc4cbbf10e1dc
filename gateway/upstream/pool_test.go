package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// counted counts the connections that are open and those that ever were.
type counted struct {
	mu         sync.Mutex
	open, ever int
}

func (k *counted) dial(inner dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := inner(ctx, network, addr)
		if err == nil {
			k.mu.Lock()
			k.open++
			k.ever++
			k.mu.Unlock()
			conn = &countedConn{Conn: conn, k: k}
		}
		return conn, err
	}
}

type countedConn struct {
	net.Conn
	k    *counted
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.k.mu.Lock()
		c.k.open--
		c.k.mu.Unlock()
	})
	return c.Conn.Close()
}

func (k *counted) want(t *testing.T, open, ever int) {
	t.Helper()
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != open || k.ever != ever {
		t.Errorf("%d of %d connections are open, want %d of %d", k.open, k.ever, open, ever)
	}
}

func aged(t *testing.T, h host, change func(*Options)) (*Cluster, *counted) {
	t.Helper()
	w, k := &wires{hosts: map[string]host{"a:1": h}, dials: make(map[string]int)}, new(counted)
	c := start(t, at("a:1"), func(o *Options) {
		o.dial, o.MaxAge, o.Timeouts.Idle = k.dial(w.dial), 10*time.Second, time.Hour
		if change != nil {
			change(o)
		}
	})
	t.Cleanup(synctest.Wait)
	return c, k
}

func TestConnectionsHaveAnAge(t *testing.T) {
	bubble(t, "idle ones are closed", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200)}, nil)
		send(t, c, 10)
		k.want(t, 1, 1)
		after(7900 * time.Millisecond)
		send(t, c, 1)
		k.want(t, 1, 1) // it is not old enough
		after(2200 * time.Millisecond)
		k.want(t, 0, 1)
		send(t, c, 1)
		k.want(t, 1, 2)
		after(11 * time.Second)
		k.want(t, 0, 2)
	})
	bubble(t, "they are renewed little by little", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200), after: time.Second}, func(o *Options) { o.MaxAge = 100 * time.Second })
		most, before := 0, 40
		for began := time.Now(); time.Since(began) < 101*time.Second; {
			var wave sync.WaitGroup
			for range 40 {
				wave.Go(func() { send(t, c, 1) })
			}
			wave.Wait()
			k.mu.Lock()
			most, before = max(most, k.ever-before), k.ever
			k.mu.Unlock()
		}
		k.want(t, 40, 80) // all of them, once
		if most > 20 {
			t.Errorf("%d of 40 connections were opened in one moment", most)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		k.want(t, 0, 80)
	})
	bubble(t, "those in use end what they do", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200), after: time.Minute}, func(o *Options) { o.Timeouts.Response = time.Hour })
		r, _ := request(t, "GET", nil)
		resp, err := c.RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(err)
		}
		k.want(t, 1, 1)
		if _, err := read(t, resp); err != nil {
			t.Error(err)
		}
		k.want(t, 0, 1) // it is closed, not kept
	})
	bubble(t, "for ever", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200)}, func(o *Options) { o.MaxAge = 0 })
		send(t, c, 1)
		after(30 * time.Minute)
		send(t, c, 1)
		k.want(t, 1, 1)
	})
	bubble(t, "of a cluster that is closed in the middle", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200), after: time.Second}, nil)
		var wave sync.WaitGroup
		for range 10 {
			wave.Go(func() { send(t, c, 9) })
		}
		wave.Wait() // nine seconds: the handover has begun and is not over
		if c.pool.handover.Load() == nil {
			t.Error("nothing is handed over")
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if k.open != 0 {
			t.Errorf("%d connections are left open", k.open)
		}
	})
	bubble(t, "of a closed cluster", func(t *testing.T) {
		c, k := aged(t, host{answer: answer(200)}, nil)
		send(t, c, 1)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		k.want(t, 0, 1)
		after(time.Hour)
		k.want(t, 0, 1)
	})
}
