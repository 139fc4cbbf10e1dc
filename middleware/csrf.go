package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "csrf", CSRFConfig{}, newCSRF)
}

// CSRFConfig refuses requests that change something and that the page of another site
// has made a browser send, with the cookies of whoever looks at it.
//
//	csrf: {trusted_origins: ["https://admin.example.com"]}
//
// GET, HEAD, OPTIONS and TRACE pass, since they are to change nothing; a WebSocket
// handshake is checked, since cookies are sent with it and everything follows from
// it. Of the others, browsers say in Sec-Fetch-Site where they come from: the same origin
// and the user's own hand pass. Browsers that are too old to say so, and pages that came
// without TLS, are judged by Origin, which must have scheme, host and port of the
// request. A proxy in front that ends TLS is to be one of `trusted_proxies`, or the
// scheme is not the one that the browser used.
//
// Programs that are no browsers send neither header, and pass: nobody can make them
// send cookies that they do not have.
type CSRFConfig struct {
	// TrustedOrigins are other sites whose pages may, in the form that `allow_origins` of
	// `cors` has, as `https://admin.example.com` or `https://*.example.com`. Default: none.
	TrustedOrigins []string `yaml:"trusted_origins"`
	// SameSite lets the pages of sister domains through, such as blog.example.com for
	// shop.example.com. Whoever takes over one of them may then do everything on the
	// others. Default: false.
	SameSite bool `yaml:"same_site"`
	// Strict also refuses what has neither Sec-Fetch-Site nor Origin. Default: false.
	Strict bool `yaml:"strict"`
}

// Validate checks the origins.
func (c CSRFConfig) Validate() error {
	var errs []error
	for i, origin := range c.TrustedOrigins {
		at := fmt.Sprintf("trusted_origins[%d]", i)
		switch origin {
		case anything:
			errs = append(errs, kind.At(at, "trusts everybody; remove the block instead"))
			continue
		case nullOrigin:
			errs = append(errs, kind.At(at, "every site can make its pages send null"))
			continue
		}
		if _, err := parseOrigin(origin); err != nil {
			errs = append(errs, kind.At(at, "%w", err))
		}
	}
	return errors.Join(errs...)
}

// csrf is the running middleware.
type csrf struct {
	trusted  origins
	sameSite bool
	strict   bool
}

func newCSRF(c CSRFConfig, _ Env) (gateway.Step, error) {
	m := &csrf{trusted: newOrigins(c.TrustedOrigins), sameSite: c.SameSite, strict: c.Strict}
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if v := m.judge(r); !v.passes {
					gateway.Fail(w, r, &gateway.Error{
						Status: http.StatusForbidden, Reason: "cross_origin", Msg: "the request comes from the page of another site", Cause: gateway.CauseClient,
					})
					return
				}
				next.ServeHTTP(w, r)
			})
		},
		Explain: func(r *http.Request, x *gateway.Exchange) string {
			v := m.judge(r)
			if v.passes {
				return "lets it pass: " + v.why
			}
			x.Status = http.StatusForbidden
			return "answers 403: " + v.why
		},
	}, nil
}

// csrfVerdict is what becomes of a request, and why.
type csrfVerdict struct {
	passes bool
	why    string
}

// judge follows net/http.CrossOriginProtection, which knows neither the scheme that a
// proxy ended, nor patterns of origins, nor WebSockets.
func (m *csrf) judge(r *http.Request) csrfVerdict {
	if isSafe(r) {
		return csrfVerdict{true, "the method changes nothing"}
	}
	origin := r.Header["Origin"]
	sites := r.Header["Sec-Fetch-Site"]
	trusted := len(origin) == 1 && m.trusted.match(origin[0])
	switch {
	case trusted:
		return csrfVerdict{true, "it comes from a trusted origin"}
	case len(sites) == 1 && sites[0] == "same-origin":
		return csrfVerdict{true, "it comes from the same origin"}
	case len(sites) == 1 && sites[0] == "none":
		return csrfVerdict{true, "it comes from the user's own hand"}
	case len(sites) == 1 && sites[0] == "same-site" && m.sameSite:
		return csrfVerdict{true, "it comes from the same site"}
	case len(sites) > 0:
		return csrfVerdict{false, "it comes from the page of another origin"}
	case len(origin) == 0 && m.strict:
		return csrfVerdict{false, "it does not say where it comes from"}
	case len(origin) == 0:
		return csrfVerdict{true, "it does not come from a browser"}
	case len(origin) == 1 && isOwnOrigin(origin[0], r):
		return csrfVerdict{true, "its Origin is this one"}
	}
	return csrfVerdict{false, "its Origin is another one"}
}

// isSafe says whether r is to change nothing (RFC 9110, section 9.2.1).
func isSafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return r.Header["Upgrade"] == nil
	}
	return false
}

// isOwnOrigin says whether origin is that of r, as the client sent it: a step before
// may have changed the host for the upstream.
func isOwnOrigin(origin string, r *http.Request) bool {
	x := gateway.ExchangeOf(r)
	host := r.Host
	if x.Request != nil {
		host = x.Request.Host
	}
	rest, ok := strings.CutPrefix(origin, x.Scheme)
	if !ok {
		return false
	}
	rest, ok = strings.CutPrefix(rest, "://")
	return ok && host != "" && rest == host
}
