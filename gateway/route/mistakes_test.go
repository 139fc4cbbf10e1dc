package route

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestMistakes(t *testing.T) {
	f := func(rule Rule, field, text string) {
		t.Helper()
		_, err := New([]Rule{{}, rule})
		e, ok := errors.AsType[*RuleError](err)
		if !ok {
			t.Errorf("%+v: error %v", rule, err)
			return
		}
		if e.Rule != 1 || e.Field != field || !strings.Contains(e.Err.Error(), text) || !strings.Contains(err.Error(), "rule 1: "+field) {
			t.Errorf("%+v: rule %d, field %q: %v; want field %q and text %q", rule, e.Rule, e.Field, e.Err, field, text)
		}
	}
	f(Rule{Path: "v1"}, "path", "must begin with a slash")
	f(Rule{Path: "/v1?x=1"}, "path", "no query")
	f(Rule{Path: "/a//b"}, "path", "double slashes")
	f(Rule{Path: "/a/../b"}, "path", "dot segments")
	f(Rule{Path: "/a/%2e%2e/{id}"}, "path", "dot segments")
	f(Rule{Path: "/a/%zz"}, "path", "percent")
	f(Rule{Path: "/a%00"}, "path", "control characters")
	f(Rule{Path: "/a%ff"}, "path", "UTF-8")
	f(Rule{Path: "/v1/*"}, "path", "write prefix: /v1,")
	f(Rule{Path: "/*"}, "path", "write prefix: /,")
	f(Rule{Path: "/{id"}, "path", "pairs")
	f(Rule{Path: "/id}"}, "path", "pairs")
	f(Rule{Path: "/%7Bid%7D"}, "path", "pairs")
	f(Rule{Path: "/{}"}, "path", "needs a name")
	f(Rule{Path: "/{id:}"}, "path", "empty")
	f(Rule{Path: "/{id:(a|b)}"}, "path", "(?:...)")
	f(Rule{Path: "/{id:[}"}, "path", "missing closing ]")
	f(Rule{Path: "/{id:a/b}"}, "path", "no slash")
	f(Rule{Path: "/{id}/{id}"}, "path", "twice")
	f(Rule{Prefix: "v1"}, "prefix", "must begin with a slash")
	f(Rule{Prefix: "/v1//"}, "prefix", "double slashes")
	f(Rule{Prefix: "/{id}"}, "prefix", "no parameters")
	f(Rule{Prefix: "/v1/*"}, "prefix", "star")
	f(Rule{PathRegex: "/("}, "path_regex", "missing closing )")
	f(Rule{PathRegex: "/a)|(?:/b"}, "path_regex", "unexpected )")
	f(Rule{PathRegex: "api/.*"}, "path_regex", "write /api/.*")
	f(Rule{PathRegex: "^api/.*$"}, "path_regex", "write ^/api/.*$")
	f(Rule{Path: "/a", Prefix: "/b"}, "prefix", "only one")
	f(Rule{Path: "/a", PathRegex: "/b"}, "path_regex", "only one")
	f(Rule{Hosts: []string{"*"}}, "hosts[0]", "leave the host out")
	f(Rule{Hosts: []string{"a", "a.*.com"}}, "hosts[1]", "first label")
	f(Rule{Hosts: []string{"*a.com"}}, "hosts[0]", "first label")
	f(Rule{Hosts: []string{"a.com:80"}}, "hosts[0]", "port")
	f(Rule{Hosts: []string{"http://a.com"}}, "hosts[0]", "scheme")
	f(Rule{Hosts: []string{"a..com"}}, "hosts[0]", "empty label")
	f(Rule{Hosts: []string{"."}}, "hosts[0]", "empty label")
	f(Rule{Hosts: []string{"*."}}, "hosts[0]", "leave the host out")
	f(Rule{Hosts: []string{"bücher.example"}}, "hosts[0]", "punycode")
	f(Rule{Hosts: []string{"[::1%eth0]"}}, "hosts[0]", "port")
	f(Rule{Hosts: []string{"[10.0.0.1]"}}, "hosts[0]", "port")
	f(Rule{Hosts: []string{"[::1]:80"}}, "hosts[0]", "port")
	f(Rule{Hosts: []string{strings.Repeat("a", 254)}}, "hosts[0]", "longer")
	f(Rule{Methods: []string{"GET", "connect"}}, "methods[1]", "never routed")
	f(Rule{Methods: []string{"G ET"}}, "methods[0]", "no method")
	f(Rule{Headers: values{"x a": {}}}, "headers.x a", "no header name")
	f(Rule{Headers: values{"host": {Exact: "a"}}}, "headers.host", "matched by host")
	f(Rule{Headers: values{"X-A": {Exact: "1"}, "x-a": {Exact: "2"}}}, "headers.x-a", "twice")

	f(Rule{Headers: values{"x-a": {Regex: "("}}}, "headers.x-a", "missing closing )")
	f(Rule{Headers: values{"x-a": {Regex: "a)|(?:b"}}}, "headers.x-a", "unexpected )")
	f(Rule{Headers: values{"x-a": {Exact: "1", Regex: "a"}}}, "headers.x-a", "only one of")
	f(Rule{Query: values{"q": {Not: "1", Absent: true}}}, "query.q", "only one of")
	f(Rule{Clients: []netip.Prefix{{}}}, "clients[0]", "no network")
	f(Rule{GRPC: &GRPC{}, Path: "/a"}, "grpc", "leave path")
	f(Rule{GRPC: &GRPC{}, Methods: []string{"POST"}}, "grpc", "leave methods out")
	f(Rule{GRPC: &GRPC{Service: Name{Exact: "a/b"}}}, "grpc.service", "no name")
	f(Rule{GRPC: &GRPC{Service: Name{Exact: "a", Regex: "b"}}}, "grpc.service", "only one of")
	f(Rule{GRPC: &GRPC{Method: Name{Exact: "a.B"}}}, "grpc.method", "without its service")
	f(Rule{GRPC: &GRPC{Method: Name{Regex: "["}}}, "grpc.method", "missing closing ]")

	_, err := New([]Rule{{Path: "a", Prefix: "b"}, {Hosts: []string{"*"}}})
	all, ok := errors.AsType[RuleErrors](err)
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 || !ok || len(all) != 3 {
		t.Errorf("%d mistakes of 3 are told: %v", n, err)
	}
}
