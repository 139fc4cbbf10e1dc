package gateway

import "net/http"

// Middleware wraps a handler. It is built once per route and snapshot, and any
// net/http middleware fits.
type Middleware func(next http.Handler) http.Handler

// Identity names a fact about the caller that a middleware can prove and
// another one can need.
type Identity string

// Subject is the identity in Exchange.Subject.
const Subject Identity = "subject"

// Step is one built entry of a route's chain: the middleware and what the
// gateway must know of it, which a bare func cannot say.
type Step struct {
	Wrap Middleware

	// Proves and Needs order a chain: a step that needs an identity which no
	// step before it proves is a configuration error.
	Proves, Needs []Identity

	// Behind is the kind of a step that this one relies on and has to stand behind in
	// the chain; "" is none. A chain without it is a configuration error.
	Behind string

	// Optional says that requests without any proof of what the step proves pass
	// too, as those of nobody.
	Optional bool

	// Vouched says that the step lets nobody pass whom it, or a service that it asks,
	// does not let in, even if it proves no identity.
	Vouched bool

	// Answers says that no request gets past this step: a route with it needs no
	// upstream.
	Answers bool

	// Owns lists request headers that only this step may produce. They are
	// stripped from every request on every route, under every alias of their
	// names, before any middleware runs (CVE-2026-30851, CVE-2026-33433).
	Owns []string

	// Start begins what the step does beside requests, when the snapshot is about to
	// serve. The channels that it returns are closed when the step can do its work; a
	// reload waits for them, for a while. May be nil. What Start begins ends with what
	// the step has in keep, and goes on if it has begun before.
	Start func() []<-chan struct{}

	// Lacking names what the step is without at this moment and cannot do its work
	// for, in words for the operator: "keys of https://id.example.com". `/readyz` shows
	// it. May be nil.
	Lacking func() []string

	// Warnings are what works and what the operator may not mean, each with its place
	// in the file that it is about. `pithead check` prints them.
	Warnings []string

	// OpenAPI makes the document of what clients can ask of the step, for people who
	// write clients. auth are the kinds of the steps before it that ask who is calling.
	// May be nil; no request waits for it.
	OpenAPI func(auth []string) ([]byte, error)

	// Explain does a dry run for `pithead explain`: it may set fields of x as
	// the middleware would, and says in one line what it would do. One that would
	// answer by itself sets x.Status, and what follows is not asked. Required.
	Explain func(r *http.Request, x *Exchange) string
}
