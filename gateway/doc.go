// Package gateway holds the vocabulary of Pithead: the types and the small
// interfaces that all other packages speak in. It imports only the standard
// library.
//
// # One request
//
//	accept -> net/http -> server: Exchange made, Snapshot loaded once
//	  -> canon: refuse or canonicalise -> route: match -> use[0] ... use[n]
//	  -> proxy: httputil.ReverseProxy -> upstream.Cluster.RoundTrip -> endpoint
//	  <- use[n] ... use[0] <- one access-log line, one set of observations
//
// # Map of the house
//
//	gateway/canon     the one canonical view of path, host, header names, client address
//	gateway/config    YAML bytes to typed Config with positions; JSON Schema
//	gateway/build     Config and kinds to Snapshot; the only room that sees every other
//	gateway/route     match a request; the only importer of gorilla/mux
//	gateway/proxy     the httputil.ReverseProxy core and who-caused-it classification
//	gateway/upstream  clusters: endpoints, subsets, attempts, health checks
//	gateway/balance   load-balancing policies, one file each
//	gateway/server    listeners, TLS, drain, reload, the current Snapshot
//	gateway/admin     the admin API
//	gateway/obs       metrics and the access log
//	gateway/kind      the one plug-in table
//	gateway/limiter   buckets for a bounded number of keys
//	gateway/keep      values that outlive a reload
//	middleware        one file per middleware
//	discovery         one file per source of endpoints
//
// docs/architecture.md says who may import whom, and a test enforces it.
package gateway
