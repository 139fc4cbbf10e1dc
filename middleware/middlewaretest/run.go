package middlewaretest

import (
	"cmp"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
)

// Case is one request and what must become of it. Fields that are not given
// have the meaning that is written beside them.
type Case struct {
	Name string

	// Request is "METHOD URL", then a line for each header, then an empty line
	// and the body: "POST /v1/orders\nX-A: 1\n\n{}". Not given: "GET /".
	Request string
	// Client is the address of the client. Not given: 192.0.2.1.
	Client string
	// Subject is what an earlier middleware has proven of the caller.
	Subject string
	// Prepare changes what the fields above cannot say.
	Prepare func(*http.Request, *gateway.Exchange)

	// Status of the answer. Not given: 200.
	Status int
	// Reason of the refusal. Not given: the request is not refused.
	Reason string
	// Header are headers that the answer must have, or must not have where the value is "".
	Header map[string]string
	// Sent are headers that the upstream must get, or must not get where the value is "".
	Sent map[string]string
	// To is the upstream that gets the request, or Nowhere. Not given: the
	// route's, or Nowhere if there is a Reason.
	To string
	// Arm, ArmBy and Subset are what the exchange must say in the end.
	Arm, ArmBy, Subset string
	// Proves is Exchange.Subject in the end. Not given: Subject.
	Proves string
	// Check looks at everything else.
	Check func(testing.TB, Answer)
}

// Nowhere is Case.To when the middleware answers by itself.
const Nowhere = "-"

// Answer is what became of a request.
type Answer struct {
	Status   int
	Header   http.Header
	Body     string
	Exchange *gateway.Exchange
	Sent     *http.Request // as the upstream got it; nil if none did
}

// Run builds the block once, as a route would, and sends the request of each
// case through it, one after the other.
func Run(t *testing.T, env middleware.Env, block string, cases []Case) {
	t.Helper()
	step := Build(t, env, block)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Helper()
			c.check(t, env, c.send(t, env, step))
		})
	}
}

// send makes the request of the case and sends it.
func (c *Case) send(t testing.TB, env middleware.Env, step gateway.Step) Answer {
	t.Helper()
	client, err := netip.ParseAddr(cmp.Or(c.Client, "192.0.2.1"))
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	x := &gateway.Exchange{Client: client, Subject: c.Subject}
	r := Request(t, cmp.Or(c.Request, "GET /"))
	if c.Prepare != nil {
		c.Prepare(r, x)
	}
	return Send(t, env, step, r, x)
}

// Request makes a request out of text, in the form of Case.Request. A target
// without a host is asked of api.example.com.
func Request(t testing.TB, text string) *http.Request {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		t.Fatalf("%q does not begin with a method and a URL", text)
	}
	if strings.HasPrefix(target, "/") {
		target = "http://api.example.com" + target
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("request: %v", err)
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			t.Fatalf("%q is no header", line)
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	r.RequestURI = r.URL.RequestURI()
	return r
}

// Send sends one request through step and on to the upstream, as the server and
// the proxy core would. What x does not say yet is filled in. It also holds the
// step to its contract: Explain answers in one line and changes no request, and
// headers that the step owns are not set on the inbound request.
func Send(t testing.TB, env middleware.Env, step gateway.Step, r *http.Request, x *gateway.Exchange) Answer {
	t.Helper()
	x.ID, x.Route = cmp.Or(x.ID, "test-1"), cmp.Or(x.Route, env.Route)
	x.Scheme = cmp.Or(x.Scheme, "https")
	if x.Start.IsZero() {
		x.Start = time.Now()
	}
	if x.Cluster == nil {
		x.Cluster, x.Upstream = env.To, env.To.Name()
	}
	r = gateway.WithExchange(r, x)
	checkExplain(t, step, r, x)

	var sent atomic.Pointer[http.Request] // a step may go on sending after its answer
	core := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range step.Owns {
			if r.Header.Get(name) != "" {
				t.Errorf("the middleware set its own header %s on the inbound request; say SetUpstreamHeader", name)
			}
		}
		sent.Store(proxy(w, r))
	})
	w := httptest.NewRecorder()
	step.Wrap(core).ServeHTTP(w, r)
	answer := Answer{Status: w.Code, Header: w.Result().Header, Body: w.Body.String(), Exchange: x, Sent: sent.Load()}
	if x.Status == gateway.StatusClientClosed {
		answer.Status = x.Status // there is no answer to look at
	}
	return answer
}

// checkExplain explains the request on a copy of its exchange.
func checkExplain(t testing.TB, step gateway.Step, r *http.Request, x *gateway.Exchange) {
	t.Helper()
	if step.Explain == nil {
		t.Fatal("the step has no Explain")
	}
	dry := &gateway.Exchange{
		ID: x.ID, Start: x.Start, Listener: x.Listener, Client: x.Client, Trusted: x.Trusted, Scheme: x.Scheme,
		Route: x.Route, Upstream: x.Upstream, Arm: x.Arm, ArmBy: x.ArmBy, Subset: x.Subset, Subject: x.Subject, Cluster: x.Cluster,
	}
	probe := gateway.WithExchange(r.Clone(r.Context()), dry)
	text := step.Explain(probe, dry)
	if strings.TrimSpace(text) == "" || strings.Contains(text, "\n") {
		t.Errorf("Explain says %q, want one line", text)
	}
	if !maps.EqualFunc(probe.Header, r.Header, equalValues) {
		t.Errorf("Explain changed the headers of the request to %v", probe.Header)
	}
}

func equalValues(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

// proxy is the least of a proxy core: what the exchange says of headers and
// cluster is carried out. It returns the request that was sent.
func proxy(w http.ResponseWriter, r *http.Request) *http.Request {
	x := gateway.ExchangeOf(r)
	out := r.Clone(r.Context())
	out.RequestURI = ""
	x.ApplyUpstreamHeaders(out.Header)
	x.Sending(out)
	res, err := x.Cluster.RoundTrip(out)
	if err != nil {
		gateway.Fail(w, r, err)
		return out
	}
	defer func() { _ = res.Body.Close() }() // in memory: cannot fail
	for name, values := range res.Header {
		for _, value := range values {
			w.Header().Add(name, value) // as httputil.ReverseProxy does: beside what middlewares have set
		}
	}
	x.Status = res.StatusCode
	w.WriteHeader(res.StatusCode)
	x.BytesOut, _ = io.Copy(w, res.Body) // a recorder takes everything
	return out
}

func (c *Case) check(t testing.TB, env middleware.Env, a Answer) {
	t.Helper()
	equal := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %#v, want %#v", what, got, want)
		}
	}
	equal("status", a.Status, cmp.Or(c.Status, http.StatusOK))
	reason, to := "", Nowhere
	if a.Exchange.Err != nil {
		reason = a.Exchange.Err.Reason
	}
	equal("reason", reason, c.Reason)
	if a.Sent != nil {
		to = a.Exchange.Cluster.Name()
		equal("Exchange.Upstream", a.Exchange.Upstream, to)
	}
	wantTo := env.To.Name()
	if c.Reason != "" {
		wantTo = Nowhere
	}
	equal("the upstream that got the request", to, cmp.Or(c.To, wantTo))
	equal("arm", a.Exchange.Arm, c.Arm)
	equal("arm by", a.Exchange.ArmBy, c.ArmBy)
	equal("subset", a.Exchange.Subset, c.Subset)
	equal("subject", a.Exchange.Subject, cmp.Or(c.Proves, c.Subject))
	checkHeaders(t, "answer", a.Header, c.Header)
	if a.Sent != nil {
		checkHeaders(t, "request upstream", a.Sent.Header, c.Sent)
	} else if len(c.Sent) > 0 {
		t.Error("no request was sent upstream")
	}
	if c.Check != nil {
		c.Check(t, a)
	}
}

func checkHeaders(t testing.TB, what string, got http.Header, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if all := strings.Join(got.Values(name), ", "); all != value {
			t.Errorf("header %s of the %s is %q, want %q", name, what, all, value)
		}
	}
}
