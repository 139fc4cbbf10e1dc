package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway/kind"
)

// announceBench is an announcer that works on a fake agent inside a bubble.
type announceBench struct {
	*discoverytest.Consul
	bench
	current atomic.Pointer[Registration]
	ill     atomic.Bool
	stop    context.CancelFunc
	done    chan struct{}
}

func registerDefaults() ConsulConfig {
	c := consulDefaults()
	c.Address, c.Service = "http://consul.internal:8500", ""
	c.Register = new(RegisterConfig)
	c.Register.SetDefaults()
	c.Register.ID = "gw-1"
	return c
}

// announceInBubble runs f with an announcer of the registration of c, which is
// started when prepare is over.
func announceInBubble(t *testing.T, c ConsulConfig, prepare, f func(b *announceBench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &announceBench{Consul: discoverytest.NewConsulInMemory(), bench: bench{t: t}, done: make(chan struct{})}
		defer b.Close()
		b.current.Store(b.registration(c))
		prepare(b)
		ctx, stop := context.WithCancel(t.Context())
		b.stop = stop
		a := Announcer{Current: b.current.Load, Ready: b.ready, Log: b.env().Log}
		go func() { defer close(b.done); a.Run(ctx) }()
		synctest.Wait()
		f(b)
		stop()
		<-b.done
	})
}

func (b *announceBench) registration(c ConsulConfig) *Registration {
	b.t.Helper()
	r, err := c.registration(8080, b.Dial, b.env().Log)
	must(b.t, err)
	return r
}

func (b *announceBench) ready() (bool, []string) {
	if b.ill.Load() {
		return false, []string{"upstream orders has no healthy endpoint"}
	}
	return true, nil
}

// has checks the entries: "ID STATUS" each.
func (b *announceBench) has(want ...string) {
	b.t.Helper()
	var got []string
	for id, e := range b.Entries() {
		got = append(got, id+" "+e.Status)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare)); diff != "" {
		b.t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func nothing(*announceBench) {}

func TestRegistration(t *testing.T) {
	c := registerDefaults()
	c.Token, c.Register.Address, c.Register.Tags, c.Register.Meta = "hunter2", "gw.internal", []string{"edge"}, map[string]string{"zone": "a"}
	announceInBubble(t, c, nothing, func(b *announceBench) {
		want := discoverytest.Entry{
			Name: "pithead", Address: "gw.internal", Port: 8080, Tags: []string{"edge"}, Meta: map[string]string{"zone": "a"},
			TTL: "15s", After: "1m0s", Token: "hunter2", Status: "passing", Note: "ready", Told: time.Now(),
		}
		if diff := cmp.Diff(want, b.Entries()["gw-1"]); diff != "" {
			t.Errorf("entry (-want +got):\n%s", diff)
		}
		for range 200 { // reports come three times as often as they must
			b.after(time.Second)
			if age := time.Since(b.Entries()["gw-1"].Told); age > 6*time.Second {
				t.Fatalf("the last report is %s old", age)
			}
		}
		b.ill.Store(true)
		b.after(time.Second)
		b.has("gw-1 critical")
		if note := b.Entries()["gw-1"].Note; note != "not ready: upstream orders has no healthy endpoint" {
			t.Errorf("note %q", note)
		}
		b.ill.Store(false)
		b.after(time.Second)
		b.has("gw-1 passing")
		b.stop()
		synctest.Wait()
		b.has()
	})
}

func TestRegistrationFaults(t *testing.T) {
	c := registerDefaults()
	t.Run("fault 18 an agent that has forgotten it", func(t *testing.T) {
		announceInBubble(t, c, nothing, func(b *announceBench) {
			b.Reset()
			b.after(6 * time.Second)
			b.has("gw-1 passing")
		})
	})
	t.Run("fault 20 Consul is down at the start", func(t *testing.T) {
		announceInBubble(t, c, func(b *announceBench) { b.Fail(discoverytest.Down) }, func(b *announceBench) {
			b.after(10 * time.Minute)
			b.has()
			b.Fail(discoverytest.None)
			b.after(5 * time.Second)
			b.has("gw-1 passing")
			if n := strings.Count(b.logs(), "registration in consul fails"); n != 1 {
				t.Errorf("%d lines for one outage:\n%s", n, b.logs())
			}
		})
	})
	t.Run("fault 13 Consul is away for a while", func(t *testing.T) {
		announceInBubble(t, c, nothing, func(b *announceBench) {
			b.Fail(discoverytest.Down)
			b.after(10 * time.Minute)
			b.Fail(discoverytest.None)
			b.after(6 * time.Second)
			if age := time.Since(b.Entries()["gw-1"].Told); age > 6*time.Second {
				t.Errorf("the last report is %s old", age)
			}
		})
	})
	t.Run("fault 17 a shutdown does not wait for a black hole", func(t *testing.T) {
		announceInBubble(t, c, nothing, func(b *announceBench) {
			b.Fail(discoverytest.Hang)
			b.after(time.Minute)
			begin := time.Now()
			b.stop()
			<-b.done
			if took := time.Since(begin); took > time.Second {
				t.Errorf("it took %s", took)
			}
			if !strings.Contains(b.logs(), "could not be taken out") {
				t.Errorf("log:\n%s", b.logs())
			}
		})
	})
	t.Run("D13 the token is not shown", func(t *testing.T) {
		c := registerDefaults()
		c.Token = "hunter2"
		announceInBubble(t, c, func(b *announceBench) { b.Fail(discoverytest.Forbidden) }, func(b *announceBench) {
			b.after(time.Minute)
			if log := b.logs(); strings.Contains(log, "hunter2") || !strings.Contains(log, "token [redacted] lacks") {
				t.Errorf("log:\n%s", log)
			}
		})
	})
}

// A reload that changes the registration changes the entry.
func TestRegistrationFollowsTheConfiguration(t *testing.T) {
	announceInBubble(t, registerDefaults(), func(b *announceBench) { b.current.Store(nil) }, func(b *announceBench) {
		use := func(change func(*RegisterConfig)) {
			c := registerDefaults()
			change(c.Register)
			b.current.Store(b.registration(c))
			b.after(time.Second)
		}
		b.has()
		use(func(*RegisterConfig) {})
		b.has("gw-1 passing")
		use(func(c *RegisterConfig) { c.Tags = []string{"new"} })
		b.has("gw-1 passing")
		if tags := b.Entries()["gw-1"].Tags; fmt.Sprint(tags) != "[new]" {
			t.Errorf("tags %v", tags)
		}
		if strings.Contains(b.logs(), "taken out") {
			t.Error("an entry that was to be replaced was taken out")
		}
		use(func(c *RegisterConfig) { c.ID = "gw-2" })
		b.has("gw-2 passing")
		b.current.Store(nil)
		b.after(time.Second)
		b.has()
	})
}

func TestRegistrationMistakes(t *testing.T) {
	f := func(want string, port int, change func(*ConsulConfig)) {
		t.Helper()
		c := registerDefaults()
		change(&c)
		_, err := c.Registration(port, slog.New(slog.DiscardHandler))
		var got []string
		for _, e := range kind.SettingErrors(err) {
			got = append(got, e.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("errors (-want +got):\n%s", diff)
		}
	}
	f("", 80, func(*ConsulConfig) {})
	f("", 80, func(c *ConsulConfig) { c.Register.ID = "" })
	f("", 0, func(c *ConsulConfig) { c.Register.Port = 80 })
	f("register.port: is required: there is not exactly one listener with a port of its own", 0, func(*ConsulConfig) {})
	f("register.port: must be 1 to 65535, not 65536", 80, func(c *ConsulConfig) { c.Register.Port = 65536 })
	f(`register.service: "a/b" will not do; letters, digits, and any of -_.: will; register.id: "?" will not do; letters, digits, and any of -_.: will`,
		80, func(c *ConsulConfig) { c.Register.Service, c.Register.ID = "a/b", "?" })
	f(`register.address: "http://gw" is no host name`, 80, func(c *ConsulConfig) { c.Register.Address = "http://gw" })
	f("register.ttl: must be 3s to 1h, not 1s; register.deregister_after: must be 1m or more, not 1s; consul takes no less",
		80, func(c *ConsulConfig) { c.Register.TTL, c.Register.DeregisterAfter = time.Second, time.Second })
	f("address: must look like http://127.0.0.1:8500", 80, func(c *ConsulConfig) { c.Address = "x" })
	if r, err := consulDefaults().Registration(80, nil); r != nil || err != nil {
		t.Errorf("without settings there is %v, %v", r, err)
	}
}
