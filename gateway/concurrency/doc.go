// Package concurrency lets in only what a service can do at a time.
//
// A Limiter bounds the requests that are under way, by a fixed number or by one
// that follows the latency of the service, and lets a few others wait in a fair
// queue. An Admission bounds requests per second, by the service's latency and
// errors.
//
// The queue is not the one of package upstream: there a request waits for a place
// at an endpoint that it may use, and who came first is first; here it waits for
// one of many equal places, and who has fewest of them is first.
package concurrency
