package canon

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

func TestPath(t *testing.T) {
	const refused = "" // no canonical path is empty
	tests := []struct {
		row, in, want string
		allow         Encoded
	}{
		{row: "plain", in: "/v1/orders/7", want: "/v1/orders/7"},
		{row: "root", in: "/", want: "/"},
		{row: "dots in names", in: "/.well-known/a..b/..c/d.", want: "/.well-known/a..b/..c/d."},
		{row: "sub-delimiters", in: "/a!$&'()*+,=:@b", want: "/a!$&'()*+,=:@b"},
		{row: "sub-delimiters stay encoded", in: "/a%2b%28%40", want: "/a%2B%28%40"},

		{row: "P01", in: "/pub/../admin", want: refused},
		{row: "P01 single", in: "/pub/./admin", want: refused},
		{row: "P01 above the root", in: "/../admin", want: refused},
		{row: "P01 at the end", in: "/pub/..", want: refused},
		{row: "P02", in: "/pub/%2e%2e/admin", want: refused},
		{row: "P02 upper", in: "/pub/%2E%2E/admin", want: refused},
		{row: "P02 mixed", in: "/pub/.%2e/admin", want: refused},
		{row: "P02 single", in: "/pub/%2e", want: refused},
		{row: "P03", in: "/pub%2f..%2fadmin", want: refused},
		{row: "P03 upper", in: "/pub%2Fadmin", want: refused},
		{row: "P03 allowed", in: "/pub%2fa", allow: Slash, want: "/pub%2Fa"},
		{row: "P03 dots are never allowed", in: "/pub%2f..%2fadmin", allow: Slash, want: refused},
		{row: "P03 dots at the end", in: "/pub%2F%2e%2e", allow: Slash, want: refused},
		{row: "P03 dots before", in: "/..%2Fa", allow: Slash, want: refused},
		{row: "P03 empty segment", in: "/pub%2F%2Fa", allow: Slash, want: refused},
		{row: "P03 empty segment before", in: "/%2Fa", allow: Slash, want: refused},
		{row: "P03 empty segment behind", in: "/pub%2F/a", allow: Slash, want: refused},
		{row: "P04", in: "/pub%5c..%5cadmin", want: refused},
		{row: "P04 raw", in: `/pub\admin`, want: refused},
		{row: "P04 never allowed", in: "/pub%5Cadmin", allow: AnyEncoded, want: refused},
		{row: "P05", in: "/admin%00.png", want: refused},
		{row: "P05 line feed", in: "/a%0ab", want: refused},
		{row: "P05 delete", in: "/a%7fb", allow: AnyEncoded, want: refused},
		{row: "P05 raw", in: "/a\x01b", want: refused},
		{row: "P06", in: "/admin%3bx/", want: refused},
		{row: "P06 raw", in: "/admin;jsessionid=1/", want: refused},
		{row: "P06 allowed", in: "/a;v=1/b%3bc", allow: Semicolon, want: "/a;v=1/b%3Bc"},
		{row: "P06 dots before a parameter", in: "/pub/..;/admin", allow: Semicolon, want: refused},
		{row: "P06 dots before an encoded parameter", in: "/pub/.%3Bx", allow: Semicolon, want: refused},
		{row: "P07", in: "/a%3fb", want: refused},
		{row: "P07 number sign", in: "/a%23b", allow: AnyEncoded, want: refused},
		{row: "P08", in: "/%252e%252e/admin", want: refused},
		{row: "P08 slash", in: "/a%252fb", allow: Slash, want: refused},
		{row: "P08 allowed", in: "/100%25", allow: Percent, want: "/100%25"},
		{row: "P09", in: "//evil/x", want: "/evil/x"},
		{row: "P09 more", in: "///a//b//", want: "/a/b/"},
		{row: "P10", in: "/%c0%ae%c0%ae/", want: refused},
		{row: "P10 overlong slash", in: "/a%c0%afb", want: refused},
		{row: "P10 surrogate", in: "/%ed%a0%80", want: refused},
		{row: "P10 cut off", in: "/%c3", want: refused},
		{row: "P10 across a slash", in: "/%c3/%a9", want: refused},
		{row: "P10 valid", in: "/caf%c3%a9", want: "/caf%C3%A9"},
		{row: "P11", in: "/%zz", want: refused},
		{row: "P11 lone", in: "/a%", want: refused},
		{row: "P11 short", in: "/a%2", want: refused},
		{row: "P11 allowed or not", in: "/a%2", allow: AnyEncoded, want: refused},
		{row: "P12", in: "/%41dmin", want: "/Admin"},
		{row: "P12 case is kept", in: "/%61DMIN", want: "/aDMIN"},
		{row: "P16 slash", in: "/a/", want: "/a/"},
		{row: "P16 dot", in: "/a/.", want: refused},
		{row: "P16 space", in: "/a%20", want: "/a%20"},
		{row: "P16 trailing dot", in: "/a.", want: "/a."},
		{row: "P21", in: "admin", want: refused},
		{row: "P21 empty", in: "", want: refused},
		{row: "T15", in: "*", want: refused},
		{row: "T21", in: "/a#b", want: refused},
		{row: "T23", in: "/caf\xc3\xa9", want: "/caf%C3%A9"},
		{row: "T23 not UTF-8", in: "/\xe9", want: refused},
		{row: "legal only in escapes", in: "/a b{c}[d]|^\"<>`", want: "/a%20b%7Bc%7D%5Bd%5D%7C%5E%22%3C%3E%60"},
		{row: "raw question mark", in: "/a?b", want: refused},
	}
	for _, test := range tests {
		t.Run(test.row, func(t *testing.T) {
			got, used, err := Path(test.in, test.allow)
			if code := status(t, err); got != test.want || (code == 400) != (test.want == refused) {
				t.Fatalf("Path(%q) = %q, status %d; want %q", test.in, got, code, test.want)
			}
			if used&^test.allow != 0 {
				t.Errorf("used %b, allowed only %b", used, test.allow)
			}
			if err != nil {
				return
			}
			again, _, err := Path(got, test.allow)
			if err != nil || again != got {
				t.Errorf("not a fixpoint: Path(%q) = %q, %v", got, again, err)
			}
		})
	}
}

// TestPathIsLinear is row P20: quadratic work on these does not end in time.
func TestPathIsLinear(t *testing.T) {
	const size = 1 << 20
	for _, unit := range []string{"../", "/", "/a", "/.", "a/..", "%2e%2e/", ";", "/..;", "%2F", "/.a", "%41"} {
		t.Run("P20 "+unit, func(t *testing.T) {
			_, _, err := Path("/"+strings.Repeat(unit, size/len(unit)), AnyEncoded)
			status(t, err)
		})
	}
}

func TestUsedEncodings(t *testing.T) {
	f := func(in string, want Encoded) {
		t.Helper()
		if _, used, err := Path(in, AnyEncoded); err != nil || used != want {
			t.Errorf("Path(%q) used %b, %v; want %b", in, used, err, want)
		}
	}
	f("/a", 0)
	f("/%41", 0)
	f("/a%2fb", Slash)
	f("/a%25", Percent)
	f("/a;", Semicolon)
	f("/a%3B", Semicolon)
	f("/a%2fb%25;", AnyEncoded)
}

func TestCheck(t *testing.T) {
	if err := Slash.Check(Slash); err != nil {
		t.Error(err)
	}
	if err := Encoded(0).Check(0); err != nil {
		t.Error(err)
	}
	err := Slash.Check(Slash | Semicolon)
	if status(t, err) != 400 || !strings.Contains(err.Error(), "semicolon") {
		t.Errorf("got %v", err)
	}
	if reason := gateway.AsError(Encoded(0).Check(Percent)).Reason; reason != "path_encoded" {
		t.Errorf("reason %q", reason)
	}
}

func TestParseEncoded(t *testing.T) {
	got, err := ParseEncoded([]string{"slash", "semicolon", "percent"})
	if got != AnyEncoded || err != nil {
		t.Errorf("got %b, %v", got, err)
	}
	if got, err := ParseEncoded(nil); got != 0 || err != nil {
		t.Errorf("got %b, %v", got, err)
	}
	if _, err := ParseEncoded([]string{"slash", "Slash"}); err == nil || !strings.Contains(err.Error(), `"Slash"`) {
		t.Errorf("got %v", err)
	}
}

// mutators spell a path in other ways, as attackers do to get past a match.
var mutators = map[string]func(string) string{
	"identity":              func(p string) string { return p },
	"double slash":          func(p string) string { return "/" + p },
	"slashes inside":        func(p string) string { return strings.ReplaceAll(p, "/", "//") },
	"dot segment":           func(p string) string { return "/." + p },
	"encoded dot segment":   func(p string) string { return "/%2e" + p },
	"parent":                func(p string) string { return "/x/.." + p },
	"encoded parent":        func(p string) string { return "/x/%2e%2e" + p },
	"half encoded parent":   func(p string) string { return "/x/.%2E" + p },
	"encoded slashes":       func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") },
	"encoded first slash":   func(p string) string { return "/x%2f.." + p },
	"backslashes":           func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", `\`) },
	"encoded backslash":     func(p string) string { return "/x%5c.." + p },
	"encoded letters":       func(p string) string { return encodeLetters(p, "%%%02x") },
	"encoded letters upper": func(p string) string { return encodeLetters(p, "%%%02X") },
	"double encoded":        func(p string) string { return encodeLetters(p, "%%25%02x") },
	"parameter":             func(p string) string { return strings.Replace(p, "admin", "admin;x", 1) },
	"dotted parameter":      func(p string) string { return "/x/..;" + p },
	"null":                  func(p string) string { return p + "%00.png" },
	"fragment":              func(p string) string { return p + "#.png" },
	"encoded question mark": func(p string) string { return p + "%3f.png" },
	"overlong":              func(p string) string { return "/x/%c0%ae%c0%ae" + p },
	"trailing dot segment":  func(p string) string { return strings.TrimSuffix(p, "/") + "/." },
}

func encodeLetters(path, format string) string {
	var out strings.Builder
	for _, c := range []byte(path) {
		if c == 'a' || c == 'm' {
			fmt.Fprintf(&out, format, c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// TestMutatedPaths is the metamorphic test: a mutated path is refused, or its
// canonical form is the path that was mutated, so that no policy can miss it.
func TestMutatedPaths(t *testing.T) {
	if len(mutators) != 22 {
		t.Errorf("%d mutators", len(mutators))
	}
	paths := []string{"/admin", "/admin/", "/v1/admin/users", "/admin/caf%C3%A9", "/admin/100%20", "/a/b/admin.html"}
	for name, mutate := range mutators {
		for _, path := range paths {
			t.Run(name+path, func(t *testing.T) {
				got, _, err := Path(mutate(path), 0)
				if status(t, err) == 0 && got != path {
					t.Errorf("%q became %q", mutate(path), got)
				}
				if err != nil {
					return
				}
				if again, _, err := Path(got, 0); err != nil || again != got {
					t.Errorf("not a fixpoint: %q became %q, %v", got, again, err)
				}
			})
		}
	}
}
