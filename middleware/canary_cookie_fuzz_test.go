package middleware

import (
	"net/http"
	"strings"
	"testing"
)

// net/http is the oracle for every value that a browser would send back.
func FuzzOnlyCookie(f *testing.F) {
	for _, line := range []string{
		"", "arm", "arm=", "arm=a", " arm = a ;", "a=b; arm=a; c=d", "a=b;arm=a;arm=b", "arm=a=b", "xarm=a; armx=b", "ARM=a", ";;;=;arm=a",
		"arm=a\x00", `arm="a"`, "arm=a b", "arm;arm=a", "a=arm=b", "\tarm=a\t",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		got, ok := onlyCookie(h, "arm")
		odd := func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\",\\", c) }
		if !ok || strings.ContainsFunc(got, odd) || strings.ContainsAny(line, "\r\n") {
			return
		}
		if want := (&http.Request{Header: h}).CookiesNamed("arm"); len(want) != 1 || want[0].Value != got {
			t.Errorf("%q: got %q, net/http says %v", line, got, want)
		}
	})
}
