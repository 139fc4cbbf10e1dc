package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What the decoder makes of a match, or that it refuses it, and that the schema
// says the same.
func TestMatchForms(t *testing.T) {
	schema := compileSchema(t)
	f := func(text string, want ...Match) {
		t.Helper()
		text = "{upstreams: {a: {discover: {consul: {}}}}, routes: [{to: a, match: " + text + "}]}"
		c, err := Parse(FilesOf("x.yaml", []byte(text)))
		if says := schema.Validate(jsonOf(t, text)); (says == nil) != (err == nil) {
			t.Errorf("%s\nthe decoder says %v\nthe schema says  %v", text, err, says)
		}
		if err != nil {
			if len(want) > 0 {
				t.Error(err)
			}
			return
		}
		if diff := cmp.Diff(want, c.Routes[0].Match, cmpopts.EquateComparable()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	f("{}", Match{})
	f("[{}]", Match{})
	f("{prefix: /a}", Match{Prefix: "/a"})
	f("[{prefix: /a}, {path: /b}]", Match{Prefix: "/a"}, Match{Path: "/b"})
	f("{headers: {a: 1, b: '', c: true, d: {regex: e}, f: {not: g}, h: {absent: true}}}", Match{Headers: map[string]Value{
		"a": {Exact: "1"}, "b": {}, "c": {Exact: "true"}, "d": {Regex: "e"}, "f": {Not: "g"}, "h": {Absent: true},
	}})
	f("{query: {a: {regex: 1}}}", Match{Query: map[string]Value{"a": {Regex: "1"}}})
	f("{grpc: {}}", Match{GRPC: &GRPC{}})
	f("{grpc: {service: a.B, method: {regex: C|D}}}", Match{GRPC: &GRPC{Service: Name{Exact: "a.B"}, Method: Name{Regex: "C|D"}}})
	f("{listeners: [web]}", Match{Listeners: []string{"web"}})
	for _, wrong := range []string{
		"[]", "all", "[all]", "[[{}]]", "{prefx: /}", "{headers: {a: [b]}}", "{headers: {a: {exact: b}}}", "{headers: {a: {absent: maybe}}}",
		"{query: [a]}", "{grpc: a.B}", "{grpc: {servce: a.B}}", "{grpc: {service: {name: a.B}}}", "{clients: 10.0.0.0/8}", "{listeners: web}",
	} {
		f(wrong)
	}
	if _, err := Parse(FilesOf("x.yaml", []byte("{upstreams: {a: {discover: {consul: {}}}}, routes: [{to: a, match: [{prefx: /}]}]}"))); err == nil ||
		!strings.Contains(err.Error(), "x.yaml:1:70: routes[0].match[0]: unknown key") {
		t.Error(err)
	}
}

func TestNamesOfMatches(t *testing.T) {
	c := parse(t, `upstreams: {a: {discover: {static: {}}}}
routes:
- {match: {}, to: a}
- {match: {host: a.example}, to: a}
- {match: [{path: /b}, {path: /c}], to: a}
- {match: {grpc: {}}, to: a}
- {match: {grpc: {service: a.B}}, to: a}
- {match: {host: a.example, grpc: {service: {regex: a.*}, method: C}}, to: a}
`)
	var names []string
	for _, r := range c.Routes {
		names = append(names, r.Name)
	}
	want := []string{"/*", "a.example/*", "/b", "/*/*", "/a.B/*", "a.example/~a.*/C"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPosInMatches(t *testing.T) {
	c := parse(t, `upstreams: {a: {discover: {static: {}}}}
routes:
- to: a
  match:
  - {host: a.example, listeners: [web]}
  - headers: {x: {regex: y}}
    grpc: {method: Get}
`)
	m := c.Routes[0].Match
	f := func(field any, want string) {
		t.Helper()
		if got := strings.TrimPrefix(c.Pos(field).String(), "x.yaml:"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(&c.Routes[0].Match, "4:3")
	f(&m[0], "5:5")
	f(&m[0].Host, "5:12")
	f(&m[0].Listeners[0], "5:35")
	f(&m[1], "6:5")
	f(&m[1].Headers, "6:5")
	f(&m[1].GRPC.Method, "7:20")
	f(&m[1].Prefix, "6:5") // not written: where the match stands
}
