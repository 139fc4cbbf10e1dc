package build

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/upstream"
)

// Explanation is what would become of a request. It stops where the request
// would be answered.
type Explanation struct {
	Request  *http.Request     // in canonical form, as far as it was taken
	Exchange *gateway.Exchange // as the request would leave it
	TLS      string            // what a handshake in the name of its host keeps to; "" without TLS
	Refused  *gateway.Error    // set if it goes nowhere
	Route    *config.Route     // nil when none matches
	Nearer   []NearRoute       // routes that come before the one that matches, in order
	Steps    []ExplainedStep   // the chain in order
	Endpoint string            // the one that such a request would get next
}

// NearRoute is a route that did not match, and why.
type NearRoute struct {
	Route *config.Route
	Why   string
}

// ExplainedStep is one middleware of a chain and what it would do.
type ExplainedStep struct{ Name, Does string }

// Explain tells what would become of r. Nothing is sent anywhere, and r stays as
// it is. It has an absolute URL, which says which listener it would come to: with
// TLS for https, without for http; the one with the port of the URL, else the
// first one by name.
func (s *Snapshot) Explain(r *http.Request) Explanation {
	x := &gateway.Exchange{Start: time.Now()}
	x.Listener, x.LocalPort = s.listenerFor(r.URL)
	r = gateway.WithExchange(r.Clone(r.Context()), x)
	if r.TLS = nil; r.URL.Scheme == "https" {
		r.TLS = &tls.ConnectionState{ServerName: r.URL.Hostname()} // as a client with this URL has it
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 // nothing else carries gRPC
		r.URL.Scheme, r.URL.Host = "", ""
	}
	e := Explanation{Request: r, Exchange: x}
	rt, err := s.route(r, x, true)
	if l := s.tls[x.Listener]; l != nil && r.TLS != nil {
		sni := foldSNI(r.TLS.ServerName)
		if e.TLS = l.explain(sni); l.of(sni).clients != nil {
			r.TLS = nil // steps take it for granted that the client has a certificate
		}
	}
	if rt != nil {
		e.Route = s.Config.Routes[slices.Index(s.routes, rt)]
	}
	if err != nil {
		e.Refused = gateway.AsError(err)
		if errors.Is(err, errNoRoute) {
			e.Nearer = s.nearer(r, x)
		}
		return e
	}
	e.Nearer = s.nearer(r, x)
	for _, step := range rt.steps {
		e.Steps = append(e.Steps, ExplainedStep{step.name, step.Explain(r, x)})
		if x.Status != 0 {
			return e // the step answers
		}
	}
	if to, ok := x.Cluster.(*upstream.Cluster); ok {
		next, err := to.Pick(x)
		if err != nil {
			e.Refused = gateway.AsError(err)
			return e
		}
		e.Endpoint = next.Addr
	}
	return e
}

// nearer are the routes that come before the one that matches r. Of a route with
// several matches it says why each of them does not hold.
func (s *Snapshot) nearer(r *http.Request, x *gateway.Exchange) []NearRoute {
	var all []NearRoute
	for _, c := range s.table.Explain(r, x) {
		if c.Matched {
			continue
		}
		from := s.matches[c.Rule]
		rt, why := s.Config.Routes[from.route], c.Why
		if len(rt.Match) > 1 {
			why = fmt.Sprintf("match %d: %s", from.match+1, why)
		}
		i := slices.IndexFunc(all, func(n NearRoute) bool { return n.Route == rt })
		if i < 0 {
			all = append(all, NearRoute{rt, why})
			continue
		}
		all[i].Why += " | " + why
	}
	return all
}

func (s *Snapshot) listenerFor(u *url.URL) (name string, port uint16) {
	wanted := u.Port()
	switch {
	case wanted == "" && u.Scheme == "https":
		wanted = "443"
	case wanted == "":
		wanted = "80"
	}
	names := slices.Sorted(maps.Keys(s.Config.Listeners))
	best := names[0]
	for _, n := range slices.Backward(names) {
		l := s.Config.Listeners[n]
		if (l.TLS != nil) != (u.Scheme == "https") {
			continue
		}
		best = n
		for _, addr := range l.Listen() {
			if p := portOf(addr); strconv.Itoa(int(p)) == wanted {
				return n, p
			}
		}
	}
	return best, portOf(s.Config.Listeners[best].Listen()[0])
}

// portOf is the port of an address to listen on, 0 for a Unix socket.
func portOf(addr string) uint16 {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.ParseUint(port, 10, 16) // config has refused what is no port
	return uint16(n)
}

// Order are the routes in order of precedence, each where its nearest match
// stands.
func (s *Snapshot) Order() []*config.Route {
	var all []*config.Route
	seen := make(map[int]bool)
	for _, rule := range s.table.Order() {
		if i := s.matches[rule].route; !seen[i] {
			seen[i] = true
			all = append(all, s.Config.Routes[i])
		}
	}
	return all
}
