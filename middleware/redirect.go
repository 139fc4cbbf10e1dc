package middleware

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/canon"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "redirect", RedirectConfig{Status: http.StatusFound}, newRedirect)
}

// RedirectConfig sends the client elsewhere, without asking the upstream. What it
// does not name is as the client asked for it, or as a rewrite before it has made
// it, the query always. Of path and prefix it takes one.
//
//	redirect: {scheme: https, status: 308}
//
// A request that is already where the redirect leads goes on along the chain, so
// `scheme: https` can stand on routes that serve both schemes. For that, a
// proxy in front that ends TLS must be one of `trusted_proxies`. On a route
// without an upstream such a request gets 404, instead of a redirect without end.
type RedirectConfig struct {
	// Scheme is `http` or `https`. Default: the request's.
	Scheme string `yaml:"scheme"`
	// Host is a name without a port. Default: the request's.
	Host string `yaml:"host"`
	// Port, 1 to 65535. One that is the scheme's own is left out of the Location.
	// Default: with `scheme` that scheme's own, else the port that the client connected
	// to, whatever its Host says; behind `trusted_proxies` the one in Host.
	Port int `yaml:"port"`
	// Path is the new path, whatever the old one was. It may hold the `{parameters}` of
	// the route's path, as with rewrite. Default: the request's.
	Path string `yaml:"path"`
	// Prefix takes the place of the prefix that the route matches, by whole segments:
	// with `match: {prefix: /old}`, `prefix: /new` makes /new/orders of /old/orders. Default: none.
	Prefix string `yaml:"prefix"`
	// Status is 301, 302, 303, 307 or 308. With 307 and 308 clients keep the
	// method; with 301 and 308 they remember. Default: 302.
	Status int `yaml:"status"`
}

var redirectStatuses = []int{301, 302, 303, 307, 308}

// Validate checks what can be checked without knowing the route.
func (c RedirectConfig) Validate() error {
	var errs []error
	if c.Scheme == "" && c.Host == "" && c.Port == 0 && c.Path == "" && c.Prefix == "" {
		errs = append(errs, kind.At("", "leads nowhere; give scheme, host, port, path or prefix"))
	}
	if c.Path != "" && c.Prefix != "" {
		errs = append(errs, kind.At("", "give only one of path and prefix"))
	}
	if c.Scheme != "" && c.Scheme != schemeHTTP && c.Scheme != schemeHTTPS {
		errs = append(errs, kind.At("scheme", "%q is not http or https", c.Scheme))
	}
	if c.Host != "" {
		if _, port, err := canon.Host(c.Host); err != nil {
			errs = append(errs, kind.At("host", "%q is no host", c.Host))
		} else if port != "" {
			errs = append(errs, kind.At("host", "has a port; write it under port"))
		}
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, kind.At("port", "is not from 1 to 65535"))
	}
	if !slices.Contains(redirectStatuses, c.Status) {
		errs = append(errs, kind.At("status", "%d is no redirect; write 301, 302, 303, 307 or 308", c.Status))
	}
	return errors.Join(append(errs, validatePathTarget("path", c.Path), validateNewPath("prefix", c.Prefix))...)
}

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
)

// defaultPort is the port that a URL of the scheme does not name.
func defaultPort(scheme string) string {
	if scheme == schemeHTTPS {
		return "443"
	}
	return "80"
}

// redirect is the running middleware.
type redirect struct {
	scheme, host, port string // "" is the request's
	path               pathEdit
	status             int
	final              bool // there is no upstream to go on to
}

// errHere is the end of a redirect without an upstream to itself.
var errHere = &gateway.Error{
	Status: http.StatusNotFound, Reason: "redirect_here", Msg: "there is nothing at this address", Cause: gateway.CauseClient,
}

func newRedirect(c RedirectConfig, env Env) (gateway.Step, error) {
	m := &redirect{scheme: c.Scheme, status: c.Status, final: env.To == nil}
	if c.Port != 0 {
		m.port = strconv.Itoa(c.Port)
	}
	var err error
	if c.Host != "" {
		if m.host, _, err = canon.Host(c.Host); err != nil {
			return gateway.Step{}, kind.At("host", "%w", err)
		}
	}
	if m.path, err = newPathEdit(c.Path, c.Prefix, env); err != nil {
		return gateway.Step{}, err
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, Answers: m.final}, nil
}

func (m *redirect) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		location, err := m.location(r, x)
		switch {
		case err != nil:
			gateway.Fail(w, r, err)
		case location == "" && m.final:
			gateway.Fail(w, r, errHere)
		case location == "":
			next.ServeHTTP(w, r)
		default:
			goesNowhere(x)
			w.Header()["Location"] = []string{location}
			w.WriteHeader(m.status)
		}
	})
}

// location is the URL to send the client to, "" if that is where it is. It is
// always a whole URL: browsers take a Location of //b for another host.
func (m *redirect) location(r *http.Request, x *gateway.Exchange) (string, error) {
	oldHost, oldPort := canon.SplitHost(r.Host)
	scheme, host := cmp.Or(m.scheme, x.Scheme), cmp.Or(m.host, oldHost)
	port := m.newPort(x, oldPort)
	if port == defaultPort(scheme) {
		port = ""
	}
	stays := scheme == x.Scheme && host == oldHost && (port == oldPort || m.port == "" && m.scheme == "")
	oldPath := r.URL.EscapedPath()
	path := m.path.apply(r.URL)
	if path != oldPath {
		u := *r.URL
		if err := canon.Rewrite(&u, path); err != nil {
			return "", err
		}
	} else if stays {
		return "", nil
	}
	colon, question := "", ""
	if port != "" {
		colon = ":"
	}
	if r.URL.RawQuery != "" {
		question = "?"
	}
	return scheme + "://" + host + colon + port + path + question + r.URL.RawQuery, nil
}

// newPort follows the Gateway API: what the redirect says, else the port of its
// scheme, else that of the listener. A client of a trusted proxy has never seen
// the listener.
func (m *redirect) newPort(x *gateway.Exchange, oldPort string) string {
	switch {
	case m.port != "":
		return m.port
	case m.scheme != "":
		return ""
	case x.Trusted || x.LocalPort == 0:
		return oldPort
	default:
		return strconv.Itoa(int(x.LocalPort))
	}
}

func (m *redirect) explain(r *http.Request, x *gateway.Exchange) string {
	location, err := m.location(r, x)
	if err != nil {
		e := gateway.AsError(err)
		x.Status = e.Status
		return fmt.Sprintf("refuses with %d: %s", e.Status, e.Msg)
	}
	if location == "" && m.final {
		x.Status = errHere.Status
		return fmt.Sprintf("refuses with %d: the request is where the redirect leads, and the route has no upstream", errHere.Status)
	}
	if location == "" {
		return "goes on: the request is where the redirect leads"
	}
	goesNowhere(x)
	x.Status = m.status
	return fmt.Sprintf("answers %d, Location: %s", m.status, location)
}
