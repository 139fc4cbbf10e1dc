// Package canon makes the one canonical view of a request: its path, its query,
// its host, the names of its headers and the address of its client. What has
// two readings is refused; what has several spellings is brought into one
// before anything decides on it, and that one spelling is also what goes
// upstream. Nobody else normalises anything.
//
// The server builds a Policy for each snapshot and calls it first, with the
// exchange it has just made:
//
//	used, err := policy.Request(r, x)
//	if err != nil {
//		gateway.Fail(w, r, err) // always a *gateway.Error with CauseClient
//		return
//	}
//	route := match(r)
//	err = route.AllowEncoded.Check(used)
//
// Afterwards these hold, for every request:
//
//   - r.URL is a path and a query without scheme, host, user or fragment, and
//     r.RequestURI, r.URL.Path and r.URL.RawPath say the same.
//   - r.Host is a lower-case name or address, with a port only when it is not
//     the scheme's own; SplitHost takes it apart.
//   - Header names are canonical. Headers that tell of proxies, or that a
//     middleware owns, are gone under every spelling. From trusted peers
//     X-Forwarded-For is left, cut to the hops that are known to be true, and
//     X-Forwarded-Host; the proxy core may append to the one and pass on the other
//     without looking at Exchange.Trusted again.
//   - Headers that Connection names are gone, for policy and upstream alike.
//     Connection and Upgrade are left only on a request for an upgrade.
//   - r.Trailer announces no trailer that the gateway would decide on as a
//     header. Trailers that were not announced must not be passed on.
//
// A rewrite of the path goes through Rewrite, which applies the same policy
// again; nothing else may assign to Path or RawPath.
//
// The server must set DisableGeneralOptionsHandler, because net/http otherwise
// answers `OPTIONS *` before any policy.
package canon
