package discovery

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
)

// consulDefaults are the settings that an operator gets with `{consul: {service: orders}}`.
func consulDefaults() ConsulConfig {
	k, _ := Kinds.Get("consul")
	c := k.Defaults().(ConsulConfig)
	c.Service = "orders"
	return c
}

// consulBench is a source that watches a fake Consul inside a synctest bubble.
type consulBench struct {
	*discoverytest.Consul
	t      *testing.T
	source *consulSource

	mu       sync.Mutex
	sets     []published
	failures []published
	log      bytes.Buffer
}

// published is a call of publish, or a failed attempt, and when it came.
type published struct {
	at    time.Time
	addrs string
}

// inBubble runs f with a fake that knows the instances and a source that has
// published them.
func inBubble(t *testing.T, change func(*ConsulConfig), f func(t *testing.T, b *consulBench), instances ...discoverytest.Instance) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newConsulBench(t, change, instances...)
		b.watch()
		f(t, b)
	})
}

func newConsulBench(t *testing.T, change func(*ConsulConfig), instances ...discoverytest.Instance) *consulBench {
	b := &consulBench{Consul: discoverytest.NewConsulInMemory(), t: t}
	b.Register(instances...)
	c := consulDefaults()
	c.Address = "http://consul.internal:8500"
	if change != nil {
		change(&c)
	}
	source, err := dialConsul(c, Env{
		Upstream: "orders", Log: slog.New(slog.NewTextHandler(lockedWriter{&b.mu, &b.log}, nil)),
		Failed: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.failures = append(b.failures, published{time.Now(), err.Error()})
		},
	}, b.Dial)
	must(t, err)
	b.source = source
	return b
}

// watch starts the source and waits for its first answer; the end of the test ends it.
func (b *consulBench) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.source.Watch(ctx, b.publish); err != nil {
			b.t.Errorf("Watch returned %v", err)
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done; b.Close() })
	synctest.Wait()
}

func (b *consulBench) publish(targets []gateway.Target) {
	addrs := make([]string, len(targets))
	for i, target := range targets {
		addrs[i] = target.Addr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets = append(b.sets, published{time.Now(), strings.Join(addrs, " ")})
}

func (b *consulBench) all() (sets, failures []published) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]published(nil), b.sets...), append([]published(nil), b.failures...)
}

// after lets d pass and everything come to rest.
func (b *consulBench) after(d time.Duration) *consulBench {
	pause(context.Background(), d)
	synctest.Wait()
	return b
}

// is checks the set that was published last.
func (b *consulBench) is(want string) {
	b.t.Helper()
	sets, _ := b.all()
	if len(sets) == 0 {
		b.t.Errorf("nothing was published, want %q", want)
	} else if got := sets[len(sets)-1].addrs; got != want {
		b.t.Errorf("the last set is %q, want %q", got, want)
	}
}

func (b *consulBench) logs() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.log.String()
}

type lockedWriter struct {
	mu *sync.Mutex
	w  *bytes.Buffer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func order(n int) discoverytest.Instance {
	return discoverytest.Instance{ID: fmt.Sprintf("orders-%d", n), Service: "orders", Address: fmt.Sprintf("10.0.0.%d", n), Port: 9000}
}
