package discovery

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/test/consultest"
)

// fullFaults says that minutes may be spent.
func fullFaults() bool { return os.Getenv("PITHEAD_FAULTS") == "full" }

const readOrders = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

// TestFault19RealConsul: the token is revoked while it is in use; the set stays
// until the file has another one.
func TestFault19RealConsul(t *testing.T) {
	agent := consultest.StartWithAccessControl(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 1}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 1}
	agent.Register(realService(t, "orders", a))
	token := agent.NewToken("first", readOrders)
	path := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(path, []byte(token.Secret+"\n"), 0o600))
	c := consulDefaults()
	c.Address, c.TokenFile = agent.URL, kind.Path(path)
	w := watchRealWith(t, c)
	w.until(a)
	agent.Revoke(token)
	agent.Register(realService(t, "orders", b))
	failures, limit := 3, 15*time.Second // of a machine with much else to do
	if fullFaults() {
		failures, limit = 220, 5*time.Second // ten minutes and more: one for each 3 s
	}
	for range failures {
		if text := (<-w.failures).Error(); strings.Contains(text, token.Secret) {
			t.Errorf("D13: the error shows the token: %s", text)
		}
	}
	if len(w.sets) != 0 {
		t.Errorf("without a token that counts, %v was published", <-w.sets)
	}
	token = agent.NewToken("second", readOrders)
	must(t, os.WriteFile(path, []byte(token.Secret+"\n"), 0o600))
	if d := w.until(a, b); d > limit {
		t.Errorf("the new token was used after %s", d)
	}
}

// TestFaultRealConsul: the agent goes away and comes back, with its data and
// without.
func TestFaultRealConsul(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 1}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 1}
	c := gateway.Target{Addr: "10.0.0.3:9000", Weight: 1}
	t.Run("fault 13 stopped and started again", func(t *testing.T) {
		agent.Register(realService(t, "outage", a))
		agent.Register(realService(t, "outage", c))
		w := watchReal(t, agent, "outage")
		w.until(a, c)
		agent.Stop()
		for range 3 {
			<-w.failures
		}
		w.never(2)
		agent.Restart()
		w.until(a, c)
		agent.Deregister("outage-10.0.0.1")
		w.until(c)
	})
	t.Run("fault 18 restarted with an empty catalogue", func(t *testing.T) {
		agent.Register(realService(t, "reset", a))
		agent.Register(realService(t, "reset", c))
		w := watchReal(t, agent, "reset")
		w.until(a, c)
		agent.Reset()
		agent.Register(realService(t, "other", b))
		agent.Register(realService(t, "reset", a))
		w.until(a)
		w.never(1)
	})
}

// TestFault17RealConsul: the agent is stopped as a process, so that its
// connections stay open and nothing comes.
func TestFault17RealConsul(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 1}
	agent.Register(realService(t, "orders", a))
	c := consulDefaults()
	slack := 10 * time.Second // of a machine with much else to do
	c.Address, c.Wait = agent.URL, time.Second
	if fullFaults() {
		c.Wait, slack = 30*time.Second, 2*time.Second
	}
	w := watchRealWith(t, c)
	w.until(a)
	agent.Freeze()
	defer agent.Thaw()
	begin := time.Now()
	<-w.failures
	if took := time.Since(begin); took > c.Wait+c.Wait/16+consulMargin+slack {
		t.Errorf("noticed after %s", took)
	}
	w.never(1)
	agent.Thaw()
	agent.Deregister("orders-10.0.0.1")
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 1}
	agent.Register(realService(t, "orders", b))
	if d := w.until(b); d > 13*time.Second+slack { // the query that is under way ends by its own limit
		t.Errorf("in use again after %s", d)
	}
}

// TestRealConsulFilter: the language of filters is the server's.
func TestRealConsulFilter(t *testing.T) {
	agent := consultest.Start(t)
	a := gateway.Target{Addr: "10.0.0.1:9000", Weight: 1, Meta: map[string]string{"version": "v1"}}
	b := gateway.Target{Addr: "10.0.0.2:9000", Weight: 1, Meta: map[string]string{"version": "v2"}}
	agent.Register(realService(t, "orders", a))
	agent.Register(realService(t, "orders", b))
	c := consulDefaults()
	c.Address, c.Filter = agent.URL, `Service.Meta.version == "v2" and Node.Node == "test"`
	w := watchRealWith(t, c)
	w.until(b)
	agent.Deregister("orders-10.0.0.2")
	bad := c
	bad.Filter = "Service.Meta.version === v2"
	if _, err := askOnce(t, bad); err == nil || !strings.Contains(err.Error(), "boolean expression") {
		t.Errorf("a filter that Consul does not understand led to %v", err)
	}
}

// TestRealConsulRegistration: what others see of a gateway that comes, goes and
// is forgotten; and the rights that its token needs.
func TestRealConsulRegistration(t *testing.T) {
	agent := consultest.StartWithAccessControl(t)
	token := agent.NewToken("gateway", `service "pithead" { policy = "write" }`)
	c := consulDefaults()
	c.Address, c.Service, c.Token = agent.URL, "", gateway.Secret(token.Secret)
	c.Register = new(RegisterConfig)
	c.Register.SetDefaults()
	c.Register.ID, c.Register.Tags, c.Register.TTL = "gw-1", []string{"edge"}, 3*time.Second
	r, err := c.Registration(8080, slog.New(slog.DiscardHandler))
	must(t, err)
	a := Announcer{
		Current: func() *Registration { return r }, Ready: func() (bool, []string) { return true, nil }, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	want := []consultest.Entry{{ID: "gw-1", Port: 8080, Tags: []string{"edge"}, Status: "passing"}}
	see := func(what string, want []consultest.Entry) {
		t.Helper()
		diff := ""
		late := time.After(30 * time.Second)
		for {
			got := agent.Entries("pithead")
			for i := range got {
				got[i].Meta = nil // Consul's own
			}
			if diff = cmp.Diff(want, got, cmpopts.EquateEmpty()); diff == "" {
				return
			}
			select {
			case <-late:
				t.Fatalf("%s (-want +got):\n%s", what, diff)
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	see("registered", want)
	cancel()
	<-done
	see("taken out", nil)
}
