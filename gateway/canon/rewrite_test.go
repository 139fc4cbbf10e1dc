package canon

import (
	"net/url"
	"testing"
)

// TestSetPath is row P15: a URL that SetPath has written is the one that net/url
// would have parsed.
func TestSetPath(t *testing.T) {
	for _, path := range []string{
		"/", "/a", "/a%20b", "/a%2Fb", "/100%25", "/caf%C3%A9", "/a(b)", "/a%28b%29", "/a!b", "/a;b%3Bc", "/a%7Bb", "/a:b@c", "/a+b%2Bc",
	} {
		t.Run("P15 "+path, func(t *testing.T) {
			want, err := url.ParseRequestURI(path)
			if err != nil {
				t.Fatal(err)
			}
			got := &url.URL{Path: "/old", RawPath: "/ol%64"}
			SetPath(got, path)
			if got.Path != want.Path || got.RawPath != want.RawPath || got.EscapedPath() != path {
				t.Errorf("got %q %q, escaped %q", got.Path, got.RawPath, got.EscapedPath())
			}
		})
	}
	u := &url.URL{}
	if SetPath(u, "/%zz"); u.Path != "/%zz" || u.EscapedPath() != "/%25zz" {
		t.Errorf("what is no escaped path became %q %q", u.Path, u.RawPath)
	}
}

func TestRewrite(t *testing.T) {
	tests := []struct {
		row, old, path string
		ok             bool
	}{
		{row: "plain", old: "/api/orders", path: "/orders", ok: true},
		{row: "P13", old: "/api.admin", path: "/./admin"},
		{row: "P13 encoded", old: "/api/x", path: "/%2e/x"},
		{row: "P13 letter", old: "/api/x", path: "/%78"},
		{row: "P13 slashes", old: "/api/x", path: "//x"},
		{row: "P13 lower-case escape", old: "/api/caf%C3%A9", path: "/caf%c3%a9"},
		{row: "P13 no slash", old: "/api/x", path: "x"},
		{row: "P13 empty", old: "/api", path: ""},
		{row: "P14", old: "/files/a", path: "/files/../admin"},
		{row: "P14 new slash", old: "/files/a", path: "/files%2Fa"},
		{row: "P14 kept slash", old: "/api/a%2Fb", path: "/a%2Fb", ok: true},
		{row: "P14 kept slash, new percent", old: "/api/a%2Fb", path: "/a%2Fb%25"},
		{row: "P14 query", old: "/a", path: "/b?c"},
		{row: "P14 old path is not canonical", old: "/a/../b", path: "/b"},
	}
	for _, test := range tests {
		t.Run(test.row, func(t *testing.T) {
			u, err := url.ParseRequestURI(test.old)
			if err != nil {
				t.Fatal(err)
			}
			before := *u
			err = Rewrite(u, test.path)
			if code := status(t, err); test.ok != (code == 0) {
				t.Fatalf("Rewrite(%q, %q): %v", test.old, test.path, err)
			}
			if test.ok && u.EscapedPath() != test.path {
				t.Errorf("path is %q", u.EscapedPath())
			}
			if !test.ok && *u != before {
				t.Errorf("a refused rewrite left %v", u)
			}
		})
	}
}
