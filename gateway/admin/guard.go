package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

const unixPrefix = "unix:"

// guard decides which requests the admin API looks at.
type guard struct {
	unix  bool
	hosts map[string]bool // lower case, without port, brackets and trailing dot
	token *[sha256.Size]byte
	limit *limiter
}

func newGuard(address string, token gateway.Secret, hosts []string) (*guard, error) {
	g := &guard{
		unix:  strings.HasPrefix(address, unixPrefix),
		hosts: map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true},
		limit: newLimiter(requestsPerSecond),
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token.Reveal()))
		g.token = &sum
	}
	for _, host := range hosts {
		g.hosts[hostname(host)] = true
	}
	if g.unix {
		return g, nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !gateway.IsLoopback(host) && g.token == nil {
		return nil, errors.New("an address that is neither loopback nor a Unix socket needs a token")
	}
	g.hosts[hostname(host)] = true
	delete(g.hosts, "") // all addresses: then Host may be the one that was reached
	return g, nil
}

// hostname takes the port, the brackets and the trailing dot off a Host.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func refuse(status int, reason, msg string) *gateway.Error {
	return &gateway.Error{Status: status, Reason: reason, Msg: msg, Cause: gateway.CauseClient}
}

// admit says why r is refused, or nil. Host comes first, so that a page that
// rebinds its name learns nothing, not even which paths there are.
func (g *guard) admit(r *http.Request, e endpoint) error {
	if !g.knownHost(r) {
		return refuse(http.StatusForbidden, "host_not_allowed", "this Host is not a name of the admin API; admin.hosts lists further ones")
	}
	if crossSite(r) {
		return refuse(http.StatusForbidden, "cross_site", "requests from web pages of other sites are refused")
	}
	if !e.unlimited && !g.limit.allow() {
		err := refuse(http.StatusTooManyRequests, "admin_rate_limit", "too many requests")
		err.RetryAfter = time.Second
		return err
	}
	if r.Method != http.MethodPost {
		return nil
	}
	if !isJSON(r) {
		return refuse(http.StatusUnsupportedMediaType, "content_type", "a body must be application/json")
	}
	if e.writes && !g.authorised(r) {
		return refuse(http.StatusUnauthorized, "token", "this needs the header Authorization: Bearer with the admin token")
	}
	return nil
}

// knownHost accepts the names of the listener. An address literal cannot be
// rebound, so the one on which the connection came in is accepted too: health
// checks of an orchestrator ask for it.
func (g *guard) knownHost(r *http.Request) bool {
	if r.Host == "" {
		return g.unix
	}
	host := hostname(r.Host)
	if g.hosts[host] {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap() == local.AddrPort().Addr().Unmap().WithZone("")
}

// crossSite says that a browser sent r for a page of another origin
// (CVE-2026-27589). Browsers set these headers and pages cannot.
func crossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return true
	}
	for _, origin := range r.Header.Values("Origin") {
		_, host, ok := strings.Cut(origin, "://")
		if !ok || !strings.EqualFold(host, r.Host) {
			return true
		}
	}
	return false
}

// isJSON keeps out what a form of a web page can send: such a request has a body
// of another type, or an Origin.
func isJSON(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && media == "application/json" {
		return true
	}
	return r.ContentLength == 0 && r.Header.Get("Origin") == "" && r.Header.Get("Content-Type") == ""
}

// authorised compares hashes, so that neither the time nor the length of the
// token can be measured.
func (g *guard) authorised(r *http.Request) bool {
	if g.token == nil {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(token))
	same := subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
	return strings.EqualFold(scheme, "Bearer") && same
}
