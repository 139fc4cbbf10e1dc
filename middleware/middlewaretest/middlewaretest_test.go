package middlewaretest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/middleware"
)

func TestMain(m *testing.M) {
	kind.Add(middleware.Kinds, "gate", gateConfig{Max: 1, Header: "x-proof"}, newGate)
	goleak.VerifyTestMain(m)
}

// gateConfig is a middleware that does a little of everything.
type gateConfig struct {
	Max    int           `yaml:"max"`
	Header string        `yaml:"header"`
	Arm    string        `yaml:"arm"`
	To     string        `yaml:"to"`
	Wait   time.Duration `yaml:"wait"`
	Broken string        `yaml:"broken"`
}

func (c gateConfig) Validate() error {
	if c.Max < 0 {
		return kind.At("max", "must not be negative")
	}
	return nil
}

type background struct{ stop chan struct{} }

func (b background) Close() error {
	close(b.stop)
	return nil
}

func newGate(c gateConfig, env middleware.Env) (gateway.Step, error) {
	var to gateway.Cluster
	if c.To != "" {
		var ok bool
		if to, ok = env.Upstream(c.To); !ok {
			return gateway.Step{}, kind.At("to", "no upstream %q", c.To)
		}
	}
	_, err := keep.Get(env.Keep, "gate/"+env.Key, func() (background, error) {
		b := background{make(chan struct{})}
		go func() { <-b.stop }()
		return b, nil
	})
	if err != nil {
		return gateway.Step{}, err
	}
	g := gate{c, to}
	step := gateway.Step{Wrap: g.wrap, Owns: []string{"X-Proof"}, Explain: func(r *http.Request, _ *gateway.Exchange) string {
		switch c.Broken {
		case "silent":
			return ""
		case "meddling":
			r.Header.Set("X-A", "changed")
		}
		return "lets it pass"
	}}
	if c.Broken == "unexplained" {
		step.Explain = nil
	}
	return step, nil
}

type gate struct {
	gateConfig
	to gateway.Cluster
}

func (g gate) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		switch {
		case len(r.Header) > g.Max:
			gateway.Fail(w, r, &gateway.Error{Status: 431, Reason: "too_many", Cause: gateway.CauseClient})
			return
		case r.Method == http.MethodPut:
			w.WriteHeader(http.StatusAccepted)
			return
		case r.Method == http.MethodDelete:
			gateway.Fail(w, r, &gateway.Error{Status: gateway.StatusClientClosed, Reason: "gone", Cause: gateway.CauseClient})
			return
		}
		<-time.After(g.Wait)
		if g.Arm != "" {
			x.Arm, x.ArmBy, x.Subset = g.Arm, "header", g.Arm
		}
		if g.to != nil {
			x.Cluster, x.Upstream = g.to, g.to.Name()
		}
		if g.Broken == "forging" {
			r.Header.Set("X-Proof", "forged")
		}
		x.Subject = r.Header.Get("X-Name")
		x.SetUpstreamHeader(g.Header, "yes")
		x.DropUpstreamHeader("x-name")
		next.ServeHTTP(w, r)
	})
}

func TestRun(t *testing.T) {
	orders, other := NewCluster("orders", "stable"), NewCluster("other")
	orders.Handle(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Served-By", "orders")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	})
	env := Env(t, orders, other)
	Run(t, env, "gate:\n  arm: stable\n  max: 2\n", []Case{
		{
			Name: "passes", Request: "POST /v1/orders\nX-Name: ada\n\n{}", Status: 201,
			Header: map[string]string{"x-served-by": "orders", "x-other": ""}, Sent: map[string]string{"x-proof": "yes", "x-name": ""},
			Arm: "stable", ArmBy: "header", Subset: "stable", Proves: "ada",
			Check: func(t testing.TB, a Answer) {
				if a.Body != "/v1/orders {}" || a.Exchange.BytesOut != int64(len(a.Body)) || a.Exchange.Status != 201 {
					t.Errorf("body %q, exchange %+v", a.Body, a.Exchange)
				}
				if orders.LastExchange() != a.Exchange {
					t.Error("the upstream saw another exchange")
				}
			},
		},
		{Name: "refused", Request: "GET /\nX-A: 1\nX-B: 1\nX-C: 1", Status: 431, Reason: "too_many", Header: map[string]string{"content-type": "application/problem+json"}},
		{Name: "answered", Request: "PUT /", Status: 202, To: Nowhere},
		{Name: "client left", Request: "DELETE /", Status: 499, Reason: "gone"},
		{
			Name: "client", Client: "2001:db8::1", Status: 201, Arm: "stable", ArmBy: "header", Subset: "stable",
			Prepare: func(r *http.Request, x *gateway.Exchange) { r.Header.Set("X-Name", x.Client.String()) }, Proves: "2001:db8::1",
		},
	})
	if _, n := orders.Last(); n != 2 {
		t.Errorf("%d requests came to the upstream, want 2", n)
	}
	Run(t, env, "gate: {to: other}", []Case{{Name: "other upstream", To: "other"}})
	Run(t, Env(t, orders), "gate: {}", []Case{{Name: "alone", Status: 201}})
}

func TestClusterFails(t *testing.T) {
	orders := NewCluster("orders")
	env := Env(t, orders)
	orders.Break(&gateway.Error{Status: 503, Reason: "no_endpoint"})
	Run(t, env, "gate: {}", []Case{{Name: "fails", Status: 503, Reason: "no_endpoint", To: "orders"}})
	orders.Break(nil)
	Run(t, env, "gate: {}", []Case{{Name: "mended"}})
}

func TestCluster(t *testing.T) {
	c := NewCluster("orders", "stable", "canary")
	if !c.HasSubset("stable") || c.HasSubset("") || c.HasSubset("beta") {
		t.Error("the subsets are not stable and canary")
	}
	if c.Healthy("") != 2 || c.Healthy("canary") != 1 || c.Healthy("beta") != 0 {
		t.Errorf("healthy: %d, canary %d, beta %d", c.Healthy(""), c.Healthy("canary"), c.Healthy("beta"))
	}
	c.SetHealthy("canary", 0)
	if c.Healthy("canary") != 0 {
		t.Error("canary is healthy")
	}
	if c.LastExchange() != nil {
		t.Error("there was no request")
	}
}

func TestMistakes(t *testing.T) {
	env := Env(t, NewCluster("orders"))
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("gate: {max: -1}", "1:13: must not be negative")
	f("gate:\n  to: nowhere", `2:7: no upstream "nowhere"`)
}

// recorder is a test that is expected to fail.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}

func (r *recorder) Error(args ...any) { r.said = append(r.said, fmt.Sprint(args...)) }

type stopped struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(stopped{})
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	panic(stopped{})
}

// failures runs f, which is expected to fail, and returns what it said.
func failures(t *testing.T, f func(testing.TB)) []string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if v := recover(); v != nil && v != (stopped{}) {
				panic(v)
			}
		}()
		f(r)
	}()
	return r.said
}

func TestWrongIsNoticed(t *testing.T) {
	orders := NewCluster("orders")
	env := Env(t, orders)
	f := func(name, block string, c Case, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			said := failures(t, func(t testing.TB) {
				step := Build(t, env, block)
				c.check(t, env, c.send(t, env, step))
			})
			if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, want) }) {
				t.Errorf("said %q, want %q", said, want)
			}
		})
	}
	f("status", "gate: {}", Case{Status: 204}, "status is 200, want 204")
	f("refused", "gate: {max: 0}", Case{Request: "GET /\nX-A: 1"}, `reason is "too_many", want ""`)
	f("not refused", "gate: {}", Case{Reason: "too_many"}, `reason is "", want "too_many"`)
	f("upstream", "gate: {}", Case{To: "other"}, `is "orders", want "other"`)
	f("answered", "gate: {}", Case{Request: "PUT /", Status: 202}, `is "-", want "orders"`)
	f("arm", "gate: {arm: stable}", Case{}, `arm is "stable", want ""`)
	f("arm by", "gate: {arm: stable}", Case{}, `arm by is "header"`)
	f("subset", "gate: {arm: stable}", Case{}, `subset is "stable"`)
	f("subject", "gate: {}", Case{Request: "GET /\nX-Name: ada"}, `subject is "ada", want ""`)
	f("header", "gate: {}", Case{Header: map[string]string{"x-a": "1"}}, `header x-a of the answer is "", want "1"`)
	f("sent header", "gate: {}", Case{Sent: map[string]string{"x-proof": ""}}, `header x-proof of the request upstream is "yes", want ""`)
	f("not sent", "gate: {}", Case{Request: "PUT /", Sent: map[string]string{"x-a": ""}}, "no request was sent upstream")
	f("forged", "gate: {broken: forging}", Case{}, "set its own header X-Proof on the inbound request")
	f("silent", "gate: {broken: silent}", Case{}, `Explain says ""`)
	f("meddling", "gate: {broken: meddling}", Case{}, "Explain changed the headers")
	f("unexplained", "gate: {broken: unexplained}", Case{}, "has no Explain")
	f("unknown kind", "gat: {}", Case{}, `no middleware is called "gat"`)
	f("bad settings", "gate: {max: -1}", Case{}, "must not be negative")
	f("bad client", "gate: {}", Case{Client: "nobody"}, "client:")
	f("bad request", "gate: {}", Case{Request: "GET"}, "does not begin with")
	f("bad URL", "gate: {}", Case{Request: "GET http://%zz/"}, "request:")
	f("bad header", "gate: {}", Case{Request: "GET /\nX"}, "is no header")
	t.Run("no mistake", func(t *testing.T) {
		said := failures(t, func(t testing.TB) { Mistakes(t, env, "gate: {}") })
		if len(said) != 1 || !strings.Contains(said[0], "found none") {
			t.Errorf("said %q", said)
		}
	})
}

// What a middleware leaves behind fails the test that it was left in.
func TestEnvEnds(t *testing.T) {
	stop := make(chan struct{})
	f := func(name string, leave func(middleware.Env), want string) {
		t.Helper()
		var said []string
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			t.Cleanup(func() { said = r.said }) // runs after that of Env
			leave(Env(r, NewCluster("orders")))
		})
		if len(said) != 1 || !strings.Contains(said[0], want) {
			t.Errorf("%s: said %q, want %q", name, said, want)
		}
	}
	f("a value that cannot be closed", func(env middleware.Env) {
		if _, err := keep.Get(env.Keep, "stubborn", func() (stubborn, error) { return stubborn{}, nil }); err != nil {
			t.Fatal(err)
		}
	}, "will not")
	f("a goroutine", func(middleware.Env) { go func() { <-stop }() }, "found unexpected goroutines")
	close(stop)
}

type stubborn struct{}

func (stubborn) Close() error { return errors.New("will not") }

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := Env(t, NewCluster("orders"))
		step, begin := Build(t, env, "gate: {wait: 1h}"), time.Now()
		a := Send(t, env, step, Request(t, "GET http://www.example.com/x?y=1"), &gateway.Exchange{})
		if a.Status != 200 || time.Since(begin) != time.Hour || a.Sent.Host != "www.example.com" {
			t.Errorf("%+v after %v", a, time.Since(begin))
		}
	})
}
