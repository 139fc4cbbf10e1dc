package discovery

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// snapshotRun watches a service with a snapshot in dir for as long as f runs.
func snapshotRun(t *testing.T, dir string, fault discoverytest.Fault, f func(b *consulBench), instances ...discoverytest.Instance) {
	t.Helper()
	b := newConsulBench(t, func(c *ConsulConfig) { c.Snapshot = kind.Path(dir) }, instances...)
	defer b.Close()
	b.Fail(fault)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.source.Watch(ctx, b.publish); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	f(b)
	cancel()
	<-done
}

func snapshotFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	must(t, err)
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	must(t, err)
	return append(names, hidden...)
}

func idle(*consulBench) {}

func TestFault20Snapshot(t *testing.T) {
	for name, fault := range map[string]discoverytest.Fault{
		"down": discoverytest.Down, "black hole": discoverytest.Hang, "no leader": discoverytest.NoLeader, "forbidden": discoverytest.Forbidden,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "made", "here")
				canary := order(2)
				canary.Tags, canary.Meta, canary.Weight, canary.Zone = []string{"canary"}, map[string]string{"v": "2"}, 7, "b"
				snapshotRun(t, dir, discoverytest.None, func(b *consulBench) { b.after(time.Hour) }, order(1), canary)
				ended := time.Now()
				pause(t.Context(), time.Hour)
				snapshotRun(t, dir, fault, func(b *consulBench) {
					b.after(2 * time.Second).is("10.0.0.1:9000 10.0.0.2:9000")
					if got := b.source.Confirmed(); ended.Sub(got) > time.Minute+30*time.Second || got.After(ended) {
						t.Errorf("the set was confirmed at %s, Consul was last asked at %s", got, ended)
					}
					b.after(time.Hour)
					if sets, _ := b.all(); len(sets) != 1 {
						t.Errorf("%d sets from one snapshot", len(sets))
					}
					b.Deregister("orders-1")
					b.Fail(discoverytest.None)
					b.after(5 * time.Second).is("10.0.0.2:9000")
					if age := time.Since(b.source.Confirmed()); age > 5*time.Second {
						t.Errorf("a set that Consul has just confirmed is %s old", age)
					}
				}, order(1), canary)
			})
		})
	}
}

// The snapshot holds everything that arms and policies look at.
func TestSnapshotKeepsLabels(t *testing.T) {
	in := order(1)
	in.Tags, in.Meta, in.Weight, in.Zone = []string{"canary"}, map[string]string{"v": "2"}, 7, "b"
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		snapshotRun(t, dir, discoverytest.None, idle, in)
		s, err := newConsulSnapshot(snapshotConfig(dir), false)
		must(t, err)
		if !s.load(newOutage(Env{}, "service", "orders").log) {
			t.Fatal("nothing is remembered")
		}
		got, _ := s.recall()
		want := []gateway.Target{{Addr: "10.0.0.1:9000", Weight: 7, Zone: "b", Tags: []string{"canary"}, Meta: map[string]string{"v": "2"}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func snapshotConfig(dir string) ConsulConfig {
	c := consulDefaults()
	c.Address, c.Snapshot = "http://consul.internal:8500", kind.Path(dir)
	return c
}

// While Consul answers, the snapshot is not looked at, even when it says something else.
func TestSnapshotIsNotUsedWhenConsulAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		snapshotRun(t, dir, discoverytest.None, idle, order(1))
		snapshotRun(t, dir, discoverytest.None, func(b *consulBench) {
			b.after(time.Second)
			b.Fail(discoverytest.Down)
			b.after(time.Hour)
			if sets, _ := b.all(); len(sets) != 1 || sets[0].addrs != "10.0.0.2:9000" {
				t.Errorf("sets %v", sets)
			}
		}, order(2))
		// What Consul says last is what is remembered, also that there is nothing.
		snapshotRun(t, dir, discoverytest.None, func(b *consulBench) { b.is("") })
		snapshotRun(t, dir, discoverytest.Down, func(b *consulBench) {
			b.after(2 * time.Second)
			if sets, _ := b.all(); len(sets) != 1 || sets[0].addrs != "" {
				t.Errorf("sets %v, want the empty one", sets)
			}
		})
	})
}

// Clocks go wrong: a set is never younger than the moment at which it is read.
func TestSnapshotOfTheFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		snapshotRun(t, dir, discoverytest.None, idle, order(1))
		later := time.Now().Add(72 * time.Hour)
		for _, file := range snapshotFiles(t, dir) {
			must(t, os.Chtimes(file, later, later))
		}
		snapshotRun(t, dir, discoverytest.Down, func(b *consulBench) {
			b.after(2 * time.Second).is("10.0.0.1:9000")
			b.after(time.Hour)
			if age := time.Since(b.source.Confirmed()); age < time.Hour || age > time.Hour+5*time.Second {
				t.Errorf("after an hour the set is %s old", age)
			}
		})
	})
}

// A catalogue that is empty right after the outage gets the grace, as one that
// becomes empty does.
func TestFault18EmptyAfterSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		snapshotRun(t, dir, discoverytest.None, idle, order(1))
		snapshotRun(t, dir, discoverytest.Down, func(b *consulBench) {
			b.after(time.Minute).is("10.0.0.1:9000")
			b.Fail(discoverytest.None)
			b.after(25 * time.Second).is("10.0.0.1:9000")
			// It is asked after 4 s at most, and the query that ends with the grace of 30 s
			// lasts up to a sixteenth longer.
			b.after(12 * time.Second).is("")
		})
	})
}

func TestSnapshotThatIsNotUsed(t *testing.T) {
	text := func(version int, query, addr string) string {
		return fmt.Sprintf(`{"version":%d,"query":%s,"targets":[{"Addr":%q}]}`, version, query, addr)
	}
	f := func(want string, content func(query string) string, age time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			s, err := newConsulSnapshot(snapshotConfig(dir), false)
			must(t, err)
			query := strings.ReplaceAll(fmt.Sprintf("%q", s.query), `\x`, `\u00`)
			must(t, os.WriteFile(s.path, []byte(content(query)), 0o600))
			at := time.Now().Add(-age)
			must(t, os.Chtimes(s.path, at, at))
			snapshotRun(t, dir, discoverytest.Down, func(b *consulBench) {
				b.after(10 * time.Second)
				sets, _ := b.all()
				if log := b.logs(); want == "" && len(sets) != 1 || want != "" && (len(sets) != 0 || strings.Count(log, want) != 1) {
					t.Errorf("want %q; published %v, log:\n%s", want, sets, log)
				}
				b.Register(order(2))
				b.Fail(discoverytest.None)
				b.after(5 * time.Second).is("10.0.0.2:9000")
			})
		})
	}
	good := func(q string) string { return text(1, q, "10.0.0.1:9000") }
	f("", good, 0)
	f("", good, snapshotAge-time.Minute)
	f("it is older than 24h0m0s", good, snapshotAge+time.Minute)
	f("it has version 2, not 1", func(q string) string { return text(2, q, "10.0.0.1:9000") }, 0)
	f("it answers another query", func(string) string { return text(1, `"orders"`, "10.0.0.1:9000") }, 0)
	f("169.254.169.254:80 is denied: link-local", func(q string) string { return text(1, q, "169.254.169.254:80") }, 0)
	f("127.0.0.1:9901 is denied: loopback", func(q string) string { return text(1, q, "127.0.0.1:9901") }, 0)
	f("is not host:port", func(q string) string { return text(1, q, "/run/x.sock") }, 0)
	f("unexpected end of JSON input", func(string) string { return "" }, 0)
	f("unexpected end of JSON input", func(q string) string { return good(q)[:40] }, 0)
	f("10001 targets are more than 10000", func(q string) string {
		return `{"version":1,"query":` + q + `,"targets":[{}` + strings.Repeat(",{}", maxTargets) + `]}`
	}, 0)
	f("is larger than 32MiB", func(string) string { return strings.Repeat(" ", snapshotLimit+1) }, 0)
}

func TestSnapshotFile(t *testing.T) {
	t.Run("only the gateway may read it, and nothing else is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			snapshotRun(t, dir, discoverytest.None, func(b *consulBench) {
				for n := range 20 {
					b.Register(order(n + 2))
					b.after(10 * time.Second)
				}
			}, order(1))
			names := snapshotFiles(t, dir)
			if len(names) != 1 {
				t.Fatalf("files %v", names)
			}
			info, err := os.Stat(names[0])
			must(t, err)
			folder, err := os.Stat(dir)
			must(t, err)
			if info.Mode().Perm() != 0o600 || folder.Mode().Perm() != 0o700 {
				t.Errorf("modes %v in %v", info.Mode(), folder.Mode())
			}
			text, err := os.ReadFile(names[0])
			must(t, err)
			if !strings.Contains(string(text), "10.0.0.21:9000") {
				t.Errorf("the last set is not in %s", text)
			}
		})
	})
	t.Run("churn is written every few seconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			snapshotRun(t, dir, discoverytest.None, func(b *consulBench) {
				writings, last := 0, ""
				for n := range 600 {
					b.Register(order(n%200 + 2))
					b.Deregister(fmt.Sprintf("orders-%d", (n+100)%200+2))
					b.after(100 * time.Millisecond)
					text, err := os.ReadFile(snapshotFiles(t, dir)[0])
					must(t, err)
					if string(text) != last {
						writings, last = writings+1, string(text)
					}
				}
				if writings < 10 || writings > 13 {
					t.Errorf("%d writings in a minute, want one for each %s", writings, snapshotEvery)
				}
			}, order(1))
		})
	})
	t.Run("a folder that cannot be written to is told once and hurts nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			b := newConsulBench(t, func(c *ConsulConfig) { c.Snapshot = kind.Path(dir) }, order(1))
			must(t, os.WriteFile(dir, nil, 0o600))
			b.watch()
			for n := range 20 {
				b.Register(order(n + 2))
				b.after(10 * time.Second)
			}
			if n := strings.Count(b.logs(), "cannot be written"); n != 1 {
				t.Errorf("%d lines for one state:\n%s", n, b.logs())
			}
			if sets, _ := b.all(); len(sets) < 20 {
				t.Errorf("only %d sets arrived", len(sets))
			}
			must(t, os.Remove(dir))
			b.after(time.Minute)
			if names := snapshotFiles(t, dir); len(names) != 1 {
				t.Errorf("once the folder can be made, there is %v", names)
			}
		})
	})
	t.Run("each query has its own", func(t *testing.T) {
		paths := make(map[string]bool)
		for _, change := range []func(*ConsulConfig){
			func(*ConsulConfig) {},
			func(c *ConsulConfig) { c.Tags = []string{"a", "b"} },
			func(c *ConsulConfig) { c.Tags = []string{"a b"} },
			func(c *ConsulConfig) { c.Filter = "a" },
			func(c *ConsulConfig) { c.Datacenter = "a" },
			func(c *ConsulConfig) { c.Namespace = "a" },
			func(c *ConsulConfig) { c.Partition = "a" },
			func(c *ConsulConfig) { c.Address = "http://a" },
			func(c *ConsulConfig) { c.Service = "a" },
		} {
			c := snapshotConfig(t.TempDir())
			change(&c)
			s, err := newConsulSnapshot(c, false)
			must(t, err)
			paths[filepath.Base(s.path)] = true
		}
		if len(paths) != 9 {
			t.Errorf("9 queries have %d files", len(paths))
		}
	})
}
