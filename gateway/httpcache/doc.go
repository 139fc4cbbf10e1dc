// Package httpcache is the mechanism of a shared HTTP cache in memory, RFC 9111:
// which answers may be stored, how long they are fresh, which request a stored
// answer fits, and where answers are kept within a bound of bytes. It has no
// handlers; the middleware `cache` puts requests and answers into it.
//
//	terms, why := policy.Judge(asked, 200, header, requested, answered)
//	if why == "" {
//		store.Put(key, httpcache.NewAnswer(...))
//	}
//
// A store has many shards, each with a lock of its own, so that there is none that
// all requests share. Waiting for a fetch that another request has begun is in
// flight.go.
package httpcache
