package discovery

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// consulChanges has, for each setting, other values than the defaults.
var consulChanges = map[string]func(*ConsulConfig){
	"Address":         func(c *ConsulConfig) { c.Address = "http://other.internal:8500" },
	"TLS":             func(c *ConsulConfig) { c.TLS = &ConsulTLS{CA: "ca.pem"} },
	"TLS.ServerName":  func(c *ConsulConfig) { c.TLS = &ConsulTLS{ServerName: "consul"} },
	"TLS.Cert":        func(c *ConsulConfig) { c.TLS = &ConsulTLS{Certificate: &ConsulCertificate{Cert: "a.pem"}} },
	"TLS.Key":         func(c *ConsulConfig) { c.TLS = &ConsulTLS{Certificate: &ConsulCertificate{Key: "a.key"}} },
	"Token":           func(c *ConsulConfig) { c.Token = "hunter2" },
	"Token, another":  func(c *ConsulConfig) { c.Token = "hunter3" },
	"TokenFile":       func(c *ConsulConfig) { c.TokenFile = "token" },
	"Datacenter":      func(c *ConsulConfig) { c.Datacenter = "a" },
	"Namespace":       func(c *ConsulConfig) { c.Namespace = "a" },
	"Partition":       func(c *ConsulConfig) { c.Partition = "a" },
	"Service":         func(c *ConsulConfig) { c.Service = "a" },
	"Tags":            func(c *ConsulConfig) { c.Tags = []string{"a", "b"} },
	"Tags, one":       func(c *ConsulConfig) { c.Tags = []string{"a b"} },
	"Tags, quoted":    func(c *ConsulConfig) { c.Tags = []string{`a" "b`} },
	"Filter":          func(c *ConsulConfig) { c.Filter = "a" },
	"Stale":           func(c *ConsulConfig) { c.Stale = false },
	"Wait":            func(c *ConsulConfig) { c.Wait = time.Minute },
	"Grace":           func(c *ConsulConfig) { c.Grace = time.Minute },
	"AllowLoopback":   func(c *ConsulConfig) { c.AllowLoopback = true },
	"Snapshot":        func(c *ConsulConfig) { c.Snapshot = "a" },
	"Register, never": func(*ConsulConfig) {}, // an upstream has none
}

func TestConsulQuestion(t *testing.T) {
	questions := make(map[string]string)
	for name, change := range consulChanges {
		c := consulDefaults()
		change(&c)
		if before, there := questions[c.question()]; there {
			t.Errorf("%s asks the same as %s", name, before)
		}
		questions[c.question()] = name
		if strings.Contains(c.question(), "hunter") {
			t.Errorf("the question shows the token")
		}
	}
	for field := range reflect.TypeFor[ConsulConfig]().Fields() {
		found := false
		for name := range consulChanges {
			first, _, _ := strings.Cut(name, ",")
			found = found || first == field.Name
		}
		if !found {
			t.Errorf("nothing is known of %s: does it make another question?", field.Name)
		}
	}
	one, two := consulDefaults(), consulDefaults()
	one.Tags, two.Tags = []string{"a", "b"}, []string{"b", "a", "b"}
	if one.question() != two.question() {
		t.Error("the order of tags makes another question")
	}
}

func TestDifferentQuestionsAreNotShared(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(token, []byte("first"), 0o600))
	inShared(t, func(b *sharedBench) {
		b.join(nil)
		for n, name := range []string{"Token", "Token, another", "Filter", "Tags", "Datacenter", "Namespace", "Partition", "AllowLoopback"} {
			b.join(consulChanges[name])
			b.asks(n + 2)
		}
		file := b.join(func(c *ConsulConfig) { c.TokenFile = kind.Path(token) })
		b.asks(10)
		file.end()
		b.asks(9)
		tokens := make(map[string]bool)
		for _, call := range b.Calls() {
			tokens[call.Token] = true
		}
		if len(tokens) != 4 {
			t.Errorf("queries came with the tokens %v", tokens)
		}
	}, order(1))
}

// scripted is a source that does what a test says and notices when it runs twice.
type scripted struct {
	*fakeRegistry
	watch func(ctx context.Context, env Env, publish func([]gateway.Target)) error
	env   Env
}

// fakeRegistry counts who asks it.
type fakeRegistry struct{ runs, most, begun atomic.Int64 }

func (scripted) AllowsLoopback() bool { return false }

func (s scripted) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	defer s.runs.Add(-1)
	s.begun.Add(1)
	for n, most := s.runs.Add(1), s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); {
		most = s.most.Load()
	}
	return s.watch(ctx, s.env, publish)
}

func (r *fakeRegistry) source(t *testing.T, env Env, watch func(ctx context.Context, env Env, publish func([]gateway.Target)) error) gateway.Source {
	source, err := share(env, "question", func(env Env) (scripted, error) { return scripted{r, watch, env}, nil })
	must(t, err)
	return source
}

// TestSharedWatchEnds: a source that gives up, or panics, gives up for all who
// hear it, and each may begin anew.
func TestSharedWatchEnds(t *testing.T) {
	gone := errors.New("the registry is no more")
	for name, end := range map[string]func() error{
		gone.Error():       func() error { return gone },
		"panic: a mistake": func() error { panic("a mistake") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, watches := new(fakeRegistry), NewWatches(slog.New(slog.DiscardHandler))
				var errs sync.Map
				var running sync.WaitGroup
				for n := range 5 {
					source := r.source(t, Env{Watches: watches}, func(context.Context, Env, func([]gateway.Target)) error {
						pause(t.Context(), time.Second)
						return end()
					})
					running.Go(func() {
						for round := range 2 {
							errs.Store(n*2+round, source.Watch(t.Context(), func([]gateway.Target) {}))
							pause(t.Context(), time.Minute)
						}
					})
				}
				running.Wait()
				told := 0
				errs.Range(func(_, err any) bool {
					told++
					if !strings.HasPrefix(err.(error).Error(), name) {
						t.Errorf("Watch returned %v", err)
					}
					return true
				})
				if told != 10 || r.begun.Load() != 2 || watches.Len() != 0 {
					t.Errorf("%d errors of %d watches, and %d are left", told, r.begun.Load(), watches.Len())
				}
			})
		})
	}
}

// TestSharedWatchComeAndGo: however upstreams come and go, there is never more
// than one watch, each upstream has the set that is known, and hears no more
// after it has gone.
func TestSharedWatchComeAndGo(t *testing.T) {
	r, watches := new(fakeRegistry), NewWatches(slog.New(slog.DiscardHandler))
	var heard, failed, skipped atomic.Int64
	ask := func(ctx context.Context, env Env, publish func([]gateway.Target)) error {
		for n := 1; ctx.Err() == nil; n++ {
			publish(target("10.0.0.1:9000"))
			env.Failed(errors.New("not every time"))
			env.Skipped(n)
			pause(ctx, time.Microsecond)
		}
		return nil
	}
	var running sync.WaitGroup
	for range 16 {
		source := r.source(t, Env{
			Watches: watches, Failed: func(error) { failed.Add(1) }, Skipped: func(int) { skipped.Add(1) },
		}, ask)
		running.Go(func() {
			for range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				var over atomic.Bool
				err := source.Watch(ctx, func(targets []gateway.Target) {
					if over.Load() || len(targets) != 1 || targets[0].Addr != "10.0.0.1:9000" {
						t.Errorf("after the end %t: %v", over.Load(), targets)
					}
					targets[0].Addr = "somebody's own" // which nobody else may see
					heard.Add(1)
					cancel()
				})
				over.Store(true)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	if most := r.most.Load(); most != 1 || watches.Len() != 0 || r.runs.Load() != 0 {
		t.Errorf("%d watches at a time, and %d are left", most, watches.Len())
	}
	if heard.Load() < 16*50 || failed.Load() == 0 || skipped.Load() == 0 {
		t.Errorf("heard of %d sets, %d failures and %d skips", heard.Load(), failed.Load(), skipped.Load())
	}
	t.Logf("%d upstreams came and went on %d watches", 16*50, r.begun.Load())
}
