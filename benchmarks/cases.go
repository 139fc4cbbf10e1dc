package main

import (
	"fmt"
	"slices"
	"strings"
)

// kind is how clients reach a proxy. A proxy is started anew for each kind.
type kind string

const (
	kindPlain kind = "plain" // HTTP/1.1
	kindTLS   kind = "tls"   // HTTP/1.1 and HTTP/2 over TLS
	kindGRPC  kind = "grpc"  // HTTP/2 without TLS, both ways

	kindJWT           kind = "jwt"           // HTTP/1.1, for callers with a signed token
	kindIntrospection kind = "introspection" // HTTP/1.1, for callers with a token that a server is asked about
)

// testCase is one kind of load.
type testCase struct {
	name  string
	about string
	kind  kind
	path  string // on the origin, which answers by it
	size  int    // bytes of an answer's body
	body  int    // bytes of a request's body
	token bool   // requests have a bearer token
	fresh bool   // a new connection for each request
	h2    bool
	conns int
	// rate is what the open loop sends, in requests a second: as much as every
	// proxy can take on one core.
	rate int
}

var cases = []testCase{
	{name: "small", about: "GET, 128-byte answer, 64 connections", kind: kindPlain, path: "/128", size: 128, conns: 64, rate: 4000},
	{name: "10k", about: "GET, 10 KiB answer, 64 connections", kind: kindPlain, path: "/10k", size: 10 << 10, conns: 64, rate: 3000},
	{name: "1m", about: "GET, 1 MiB answer, 16 connections", kind: kindPlain, path: "/1m", size: 1 << 20, conns: 16, rate: 200},
	{name: "post", about: "POST, 10 KiB request, 128-byte answer, 64 connections", kind: kindPlain, path: "/128", size: 128, body: 10 << 10, conns: 64, rate: 3000},
	{name: "fresh", about: "GET, 128-byte answer, a new connection for each request", kind: kindPlain, path: "/128", size: 128, fresh: true, conns: 32, rate: 2000},
	{name: "tls", about: "GET over TLS 1.3, 128-byte answer, 64 connections", kind: kindTLS, path: "/128", size: 128, conns: 64, rate: 4000},
	{name: "h2", about: "GET over TLS and HTTP/2, 128-byte answer, 8 connections of 8 streams", kind: kindTLS, path: "/128", size: 128, h2: true, conns: 8, rate: 3000},
	{name: "grpc", about: "gRPC unary over HTTP/2 without TLS on both sides, 128-byte messages, 8 connections of 8 streams", kind: kindGRPC, path: "/bench.Echo/Unary", size: 128, body: 128, h2: true, conns: 8, rate: 2000},
	{name: "jwt", about: "small with a JWT (HS256) that is known after the first request", kind: kindJWT, path: "/128", size: 128, token: true, conns: 64, rate: 4000},
	{name: "introspection", about: "small with a token whose introspection is remembered", kind: kindIntrospection, path: "/128", size: 128, token: true, conns: 64, rate: 4000},
}

// kinds are all of them, in the order in which they are measured.
var kinds = []kind{kindPlain, kindTLS, kindGRPC, kindJWT, kindIntrospection}

// tokenCases are for Pithead alone.
func tokenCases() map[string]string {
	const why = "checks something else, or nothing without a plug-in or another edition"
	return map[string]string{"jwt": why, "introspection": why}
}

// withTokens is tokenCases and one more case that a peer cannot take.
func withTokens(name, why string) map[string]string {
	not := tokenCases()
	not[name] = why
	return not
}

func caseNames() []string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name
	}
	return names
}

// chosenCases are those named in list, or all.
func chosenCases(list string) ([]testCase, error) {
	return choose(cases, list, "case", func(c testCase) string { return c.name })
}

// choose takes the things named in a list with commas; an empty list is all.
func choose[T any](all []T, list, noun string, name func(T) string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	var chosen []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(all, func(t T) bool { return name(t) == want })
		if i < 0 {
			return nil, fmt.Errorf("there is no %s %q", noun, want)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// streams is how many requests one connection carries at a time.
func (c *testCase) streams() int {
	if c.h2 {
		return 8
	}
	return 1
}
