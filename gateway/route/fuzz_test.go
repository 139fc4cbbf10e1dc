package route

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzQuery compares the walk over the raw query with url.ParseQuery.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"q=1", "a=1&q=2&q=3", "q", "q=%zz&q=%31", "%71=+", "q;=1&q=2", "q=1;", "&&q==", "q=%", "q=%4"} {
		f.Add(seed, "q")
	}
	f.Fuzz(func(t *testing.T, query, name string) {
		values, _ := url.ParseQuery(query) // its error is about the parameters that it drops
		raw, ok := firstParam(query, name)
		if ok != values.Has(name) {
			t.Fatalf("%q in %q: %v, ParseQuery says %v", name, query, ok, values)
		}
		if ok && (!unescapesTo(raw, values.Get(name)) || unescapesTo(raw, values.Get(name)+"x")) {
			t.Fatalf("%q in %q: %q, ParseQuery says %q", name, query, raw, values.Get(name))
		}
	})
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
