package route

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzQuery compares the walk over the raw query with url.ParseQuery.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"q=1", "a=1&q=2&q=3", "q", "q=%zz&q=%31", "%71=+", "q;=1&q=2", "q=1;", "&&q==", "q=%", "q=%4"} {
		f.Add(seed, "q")
	}
	f.Add("&&a=1", "")
	f.Add("&=1", "")
	f.Fuzz(func(t *testing.T, query, name string) {
		values, _ := url.ParseQuery(query) // its error is about the parameters that it drops
		raw, ok := firstParam(query, name)
		if ok != values.Has(name) {
			t.Fatalf("%q in %q: %v, ParseQuery says %v", name, query, ok, values)
		}
		if ok && (!unescapesTo(raw, values.Get(name)) || unescapesTo(raw, values.Get(name)+"x")) {
			t.Fatalf("%q in %q: %q, ParseQuery says %q", name, query, raw, values.Get(name))
		}
		if plain, fits := appendUnescaped(make([]byte, 0, len(raw)), raw); ok && (!fits || string(plain) != values.Get(name)) {
			t.Fatalf("%q in %q: %q, ParseQuery says %q", name, query, plain, values.Get(name))
		}
	})
}

// FuzzQueryIndex has many rules for values of two parameters, of which one may be what
// the fuzzer asks for, and compares the look-up with url.ParseQuery.
func FuzzQueryIndex(f *testing.F) {
	for _, seed := range []string{"q=1", "a=x0&q=2&q=3", "q=x7&q=x8", "q=%78%37", "%71=+", "q;=x1&q=x2", "q=x1;&q=x2", "&&q==", "q=x1%&q=x2", "q=" + tooLong} {
		f.Add(seed, "q", "1")
		f.Add(seed, "p", tooLong)
		f.Add(seed, "q", " ")
	}
	f.Fuzz(func(t *testing.T, query, name, value string) {
		rules := make([]Rule, 0, 42)
		for i := range 20 {
			one := Value{Exact: fmt.Sprintf("x%d", i)}
			rules = append(rules, Rule{Query: values{name: one}}, Rule{Query: values{"q": one, "a": {Exact: "x0"}}})
		}
		rules = append(rules, Rule{Query: values{name: {Exact: value}}}, Rule{Query: values{name: {}}})
		sent, _ := url.ParseQuery(query)
		want, most := -1, 0
		for i, rule := range rules {
			if len(rule.Query) > most && inValues(sent, rule.Query) {
				want, most = i, len(rule.Query)
			}
		}
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: query}}
		if got := table(t, rules...).Match(r, nowhere).Rule; got != want {
			t.Fatalf("%q with %q as %q: rule %d, want %d", query, name, value, got, want)
		}
	})
}

// inValues judges exact values and presence.
func inValues(sent url.Values, want map[string]Value) bool {
	for name, v := range want {
		if !sent.Has(name) || v.Exact != "" && sent.Get(name) != v.Exact {
			return false
		}
	}
	return true
}

// FuzzPath checks that a path and any legal way to write it are the same path
// to all rules, and that no encoded slash divides segments.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/a/b", "/a%2Fb", "/%61%2fb", "/caf%C3%A9%2F", "/a%252Fb", "/%zz", "/a%2Fb%25", "/%2F "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			return
		}
		path, ok := matchPath(u)
		if !ok {
			if strings.HasPrefix(u.Path, "/") && !strings.Contains(u.Path, "\x00") {
				t.Fatalf("%q is refused", raw)
			}
			return
		}
		if got := strings.ReplaceAll(path, encodedSlash, "/"); got != u.Path {
			t.Fatalf("%q became %q, want %q", raw, got, u.Path)
		}
		if got, want := strings.Count(path, "/"), strings.Count(u.EscapedPath(), "/"); got != want {
			t.Fatalf("%q became %q with %d slashes, want %d", raw, path, got, want)
		}
	})
}
