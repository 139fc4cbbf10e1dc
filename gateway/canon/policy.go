package canon

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// Options are what a Policy is built from. A limit that is zero has its default.
type Options struct {
	Trusted      []netip.Prefix // peers whose X-Forwarded-For, -Proto and -Host are believed
	Owned        []string       // headers that only middlewares may produce, in any spelling
	Keep         []string       // headers with an underscore or a dot that pass; never aliases of headers the gateway decides on
	AllowEncoded Encoded        // what any route allows in a path
	AllowTrace   bool           // some route names TRACE
	QueryParams  int            // default 1000
	Cookies      int            // default 100
	HeaderFields int            // lines; default 100
	Target       int            // bytes; default 8 KiB
}

// Policy is the canonical view of all requests of a listener. It is read-only
// and safe for concurrent use.
type Policy struct {
	trusted      []netip.Prefix
	names        nameTable
	allowEncoded Encoded
	allowTrace   bool
	queryParams  int
	cookies      int
	headerFields int
	target       int
}

// NewPolicy builds the policy of a listener.
func NewPolicy(o Options) *Policy {
	p := &Policy{
		names:        newNameTable(o.Owned, o.Keep),
		allowEncoded: o.AllowEncoded,
		allowTrace:   o.AllowTrace,
		queryParams:  cmp.Or(o.QueryParams, 1000),
		cookies:      cmp.Or(o.Cookies, 100),
		headerFields: cmp.Or(o.HeaderFields, 100),
		target:       cmp.Or(o.Target, 8<<10),
	}
	for _, prefix := range o.Trusted {
		p.trusted = append(p.trusted, unmapPrefix(prefix))
	}
	return p
}

// Request makes r canonical in place, or refuses it. It fills in x.Client,
// x.Trusted and x.Scheme even then, as far as they are known, and x.ID when the
// client sent a well-formed X-Request-Id. used says which of the encodings that any
// route allows occur in the path; the matched route must Check it.
func (p *Policy) Request(r *http.Request, x *gateway.Exchange) (used Encoded, err error) {
	if err := p.client(r, x); err != nil {
		return 0, err
	}
	if err := p.method(r); err != nil {
		return 0, err
	}
	if err := p.headers(r, x); err != nil {
		return 0, err
	}
	if err := host(r, x.Scheme); err != nil {
		return 0, err
	}
	return p.url(r)
}

const (
	// maxMethod is twice the longest registered method.
	maxMethod = 32
	allow     = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
)

// method refuses the methods that make a gateway something else: a tunnel
// (CONNECT), an echo of credentials (TRACE), the HTTP/2 preface. Methods are
// case-sensitive, and routes name them in capitals: `delete` would go past the
// route of DELETE to one that takes every method, and an upstream that does not
// care for case would delete.
func (p *Policy) method(r *http.Request) error {
	switch r.Method {
	case "GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS":
		return nil
	case "CONNECT":
		return methodNotAllowed("this gateway is not a tunnel")
	case "TRACE", "TRACK":
		if !p.allowTrace {
			return methodNotAllowed("tracing is not allowed")
		}
	case "PRI":
		return gateway.BadRequest("bad_method", "the HTTP/2 preface is no request")
	}
	if r.Method == "" || len(r.Method) > maxMethod {
		return gateway.BadRequest("bad_method", "the method is empty or too long")
	}
	var seen uint8
	for i := range len(r.Method) {
		seen |= nameBytes[r.Method[i]]
	}
	switch {
	case seen&nameBad != 0:
		return gateway.BadRequest("bad_method", "the method is no token")
	case seen&nameLower != 0:
		return methodNotAllowed("methods are written in capitals")
	}
	return nil
}

func methodNotAllowed(msg string) error {
	e := gateway.BadRequest("method_not_allowed", msg)
	e.Status, e.Allow = http.StatusMethodNotAllowed, allow
	return e
}

// host makes r.Host canonical. For an absolute-form target net/http has put the
// target's host there, and has hidden the Host header on HTTP/1.
func host(r *http.Request, scheme string) error {
	if r.URL.Host != "" && !strings.EqualFold(r.URL.Host, r.Host) {
		return gateway.BadRequest("host_mismatch", "the target and the Host header name different hosts")
	}
	name, port, err := Host(r.Host)
	if err != nil {
		return err
	}
	r.Host = joinHost(r.Host, name, port, scheme)
	return nil
}

// url makes the target canonical: origin-form, whatever it was.
func (p *Policy) url(r *http.Request) (used Encoded, err error) {
	u := r.URL
	if len(r.RequestURI) > p.target || len(u.Path) > p.target || len(u.RawQuery) > p.target {
		e := gateway.BadRequest("target_too_long", "the request target is too long")
		e.Status = http.StatusRequestURITooLong
		return 0, e
	}
	changed := u.Scheme != "" || u.Host != ""
	if changed || u.Path == "*" || u.Path == "" {
		if err := originForm(r); err != nil {
			return 0, err
		}
	}
	if u.Opaque != "" || u.User != nil || u.Fragment != "" {
		return 0, badTarget("the request target is no path")
	}
	if r.ProtoMajor > 1 && strings.IndexByte(r.RequestURI, ' ') >= 0 {
		return 0, badTarget("the request target holds a space") // which net/http would escape
	}
	query, err := canonicalQuery(u.RawQuery, p.queryParams)
	if err != nil {
		return 0, err
	}
	if len(query) != len(u.RawQuery) {
		u.RawQuery, changed = query, true
	}
	if u.RawPath != "" || !plainPath(u.Path, pathURL) {
		sent := u.RawPath
		if sent == "" {
			sent = u.EscapedPath()
		}
		path, pathUsed, err := Path(sent, p.allowEncoded)
		if err != nil {
			return 0, err
		}
		SetPath(u, path)
		used, changed = pathUsed, changed || path != sent
	}
	if changed {
		r.RequestURI = u.RequestURI()
	}
	return used, nil
}

// originForm takes scheme and host off an absolute-form target, after host has
// compared them, and refuses the asterisk: no route can match the server as a whole.
func originForm(r *http.Request) error {
	u := r.URL
	absolute := u.Scheme != "" || u.Host != ""
	if absolute {
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || r.ProtoMajor > 1 {
			return badTarget("the request target has a scheme or an authority that it must not have")
		}
		u.Scheme, u.Host, u.OmitHost = "", "", false
	}
	if u.Path != "*" && u.Path != "" {
		return nil
	}
	switch {
	case r.Method == http.MethodOptions && (absolute || u.Path == "*") && u.RawQuery == "":
		return methodNotAllowed("this gateway has no options for the server as a whole")
	case absolute && u.Path == "":
		SetPath(u, "/") // RFC 9112, 3.2.1
		return nil
	default:
		return badTarget("the request target is no path")
	}
}

func badTarget(msg string) error { return gateway.BadRequest("bad_target", msg) }
