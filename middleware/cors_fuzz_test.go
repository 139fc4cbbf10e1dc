package middleware

import (
	"net/url"
	"strings"
	"testing"
)

// FuzzOrigin: what an origin with a wildcard lets in has a host below the named
// one, as net/url reads it, and nothing else about it is chosen by the client.
func FuzzOrigin(f *testing.F) {
	for _, origin := range []string{
		"https://shop.example.com", "https://example.com.evil.org", "https://evil.org/.example.com", "https://evil.org?.example.com", "https://a.example.com:8443",
		"https://evil.org#.example.com", "https://u@a.example.com", `https://evil.org\.example.com`, "https://.example.com", "https://a.example.com.", "http://a.example.com", "null", "",
		"https://evil.org%00.example.com", "https://a..example.com", "HTTPS://A.EXAMPLE.COM",
	} {
		f.Add(origin)
	}
	set := newOrigins([]string{"https://*.example.com", "https://exact.org"})
	f.Fuzz(func(t *testing.T, origin string) {
		if !set.match(origin) || origin == "https://exact.org" {
			return
		}
		u, err := url.Parse(origin)
		if err != nil {
			t.Fatalf("%q is let in, and is no URL: %v", origin, err)
		}
		if u.Scheme != "https" || u.Port() != "" || u.User != nil || u.Path+u.RawQuery+u.Fragment != "" || !strings.HasSuffix(u.Hostname(), ".example.com") {
			t.Errorf("%q is let in, and is %+v", origin, u)
		}
	})
}
