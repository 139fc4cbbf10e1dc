package discovery

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// bench records what a source inside a synctest bubble publishes, reports and logs.
type bench struct {
	t *testing.T

	mu       sync.Mutex
	sets     []published
	failures []published
	skipped  int // in the last answer
	log      bytes.Buffer
}

// published is a call of publish, or a failed attempt, and when it came.
type published struct {
	at    time.Time
	addrs string
}

// env makes a source report to the bench.
func (b *bench) env() Env {
	return Env{
		Upstream: "orders", Log: slog.New(slog.NewTextHandler(lockedWriter{&b.mu, &b.log}, nil)),
		Failed: func(err error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.failures = append(b.failures, published{time.Now(), err.Error()})
		},
		Skipped: func(n int) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.skipped = n
		},
	}
}

// watch starts the source and waits for its first answer; the end of the test
// ends it, and then calls end.
func (b *bench) watch(source gateway.Source, end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := source.Watch(ctx, b.publish); err != nil {
			b.t.Errorf("Watch returned %v", err)
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done; end() })
	synctest.Wait()
}

func (b *bench) publish(targets []gateway.Target) {
	addrs := make([]string, len(targets))
	for i, target := range targets {
		addrs[i] = target.Addr
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sets = append(b.sets, published{time.Now(), strings.Join(addrs, " ")})
}

func (b *bench) all() (sets, failures []published) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]published(nil), b.sets...), append([]published(nil), b.failures...)
}

// after lets d pass and everything come to rest.
func (b *bench) after(d time.Duration) *bench {
	pause(context.Background(), d)
	synctest.Wait()
	return b
}

// is checks the set that was published last.
func (b *bench) is(want string) {
	b.t.Helper()
	sets, _ := b.all()
	if len(sets) == 0 {
		b.t.Errorf("nothing was published, want %q", want)
	} else if got := sets[len(sets)-1].addrs; got != want {
		b.t.Errorf("the last set is %q, want %q", got, want)
	}
}

// skips checks how many instances of the last answer were left out.
func (b *bench) skips(want int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.skipped != want {
		b.t.Errorf("%d instances skipped, want %d", b.skipped, want)
	}
}

func (b *bench) logs() string {
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
