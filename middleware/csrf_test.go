package middleware_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

func TestCSRF(t *testing.T) {
	f := func(name, settings string, passes bool, request string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			env, _ := orders(t)
			a := send(t, env, middlewaretest.Build(t, env, "csrf: {"+settings+"}"), request, &gateway.Exchange{})
			if (a.Status == 200) != passes || (a.Sent != nil) != passes || !passes && (a.Status != 403 || a.Exchange.Err.Reason != "cross_origin") {
				t.Errorf("%d, %v", a.Status, a.Exchange.Err)
			}
		})
	}
	const own, evil = "\nOrigin: https://api.example.com", "\nOrigin: https://evil.example"
	f("safe", "strict: true", true, "GET /\nSec-Fetch-Site: cross-site"+evil)
	f("a program", "", true, "POST /")
	f("a program, strict", "strict: true", false, "POST /")
	f("same origin", "strict: true", true, "POST /\nSec-Fetch-Site: same-origin")
	f("by hand", "strict: true", true, "DELETE /\nSec-Fetch-Site: none")
	f("sister domain", "", false, "POST /\nSec-Fetch-Site: same-site\nOrigin: https://blog.example.com")
	f("sister domain that may", "same_site: true", true, "POST /\nSec-Fetch-Site: same-site\nOrigin: https://blog.example.com")
	f("cross site", "same_site: true", false, "POST /\nSec-Fetch-Site: cross-site"+evil)
	f("cross site with our Origin", "", false, "POST /\nSec-Fetch-Site: cross-site"+own)
	f("two answers", "", false, "POST /\nSec-Fetch-Site: same-origin\nSec-Fetch-Site: cross-site")
	f("an answer that does not exist", "", false, "POST /\nSec-Fetch-Site: same-origin, cross-site")
	f("unknown method", "", false, "PURGE /\nSec-Fetch-Site: cross-site")

	f("old browser", "strict: true", true, "POST /"+own)
	f("old browser, other site", "", false, "POST /"+evil)
	f("no TLS", "", false, "POST /\nOrigin: http://api.example.com")
	f("other port", "", false, "POST /\nOrigin: https://api.example.com:8443")
	f("begins alike", "", false, "POST /"+own+".evil.example")
	f("ends alike", "", false, "POST /\nOrigin: https://evil-api.example.com")
	f("null", "", false, "POST /\nOrigin: null")
	f("two origins", "", false, "POST /"+own+own)
	f("empty origin", "", false, "POST /\nOrigin:")
	f("scheme alone", "", false, "POST /\nOrigin: https://")
	f("own port", "", true, "POST https://api.example.com:8443/\nOrigin: https://api.example.com:8443")

	const trusted = `trusted_origins: ["https://admin.example.com", "https://*.partner.example"]`
	f("trusted", trusted, true, "POST /\nSec-Fetch-Site: cross-site\nOrigin: https://admin.example.com")
	f("trusted, old browser", trusted, true, "POST /\nOrigin: https://a.partner.example")
	f("trusted without TLS", trusted, false, "POST /\nSec-Fetch-Site: cross-site\nOrigin: http://admin.example.com")
	f("not trusted", trusted, false, "POST /\nSec-Fetch-Site: cross-site"+evil)

	const handshake = "GET /\nConnection: Upgrade\nUpgrade: websocket"
	f("handshake", "", true, handshake+own)
	f("handshake of another site", "", false, handshake+evil)
	f("handshake of a program", "", true, handshake)
	f("handshake of another site that says so", "", false, handshake+"\nSec-Fetch-Site: cross-site"+evil)
}

// The scheme is the one that the browser used, whoever ended TLS, and the host
// the one that it asked for, whatever goes upstream.
func TestCSRFBehindProxies(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "csrf: {}")
	f := func(scheme, origin string, want int) {
		t.Helper()
		x := &gateway.Exchange{Scheme: scheme, Request: middlewaretest.Request(t, "POST http://www.example.com/")}
		if a := send(t, env, step, "POST http://inside/\nOrigin: "+origin, x); a.Status != want {
			t.Errorf("%s of %s: %d", origin, scheme, a.Status)
		}
	}
	f("https", "https://www.example.com", 200)
	f("http", "http://www.example.com", 200)
	f("http", "https://www.example.com", 403)
	f("https", "http://www.example.com", 403)
	f("https", "https://inside", 403)
}

// Where this one and the standard library's differ, this one is stricter.
func TestCSRFAgrees(t *testing.T) {
	env, _ := orders(t)
	step, library := middlewaretest.Build(t, env, `csrf: {trusted_origins: ["https://ok.example"]}`), http.NewCrossOriginProtection()
	if err := library.AddTrustedOrigin("https://ok.example"); err != nil {
		t.Fatal(err)
	}
	stricter := map[string]bool{
		"POST||http://api.example.com":  true, // the page came without TLS, and whoever is on the way may have written it
		"PURGE||http://api.example.com": true,
		"POST||":                        false,
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "POST", "PURGE"} {
		for _, site := range []string{"", "same-origin", "none", "same-site", "cross-site", "Same-Origin", "x"} {
			for _, origin := range []string{"", "https://api.example.com", "http://api.example.com", "https://ok.example", "https://evil.example", "null", "%", "https://api.example.com.evil.example"} {
				lines := []string{method + " /"}
				if site != "" {
					lines = append(lines, "Sec-Fetch-Site: "+site)
				}
				if origin != "" {
					lines = append(lines, "Origin: "+origin)
				}
				r, x := middlewaretest.Request(t, strings.Join(lines, "\n")), &gateway.Exchange{Scheme: "https"}
				if method == "TRACE" {
					continue // the library takes it for unsafe; a route has to allow it by name
				}
				step.Explain(gateway.WithExchange(r, x), x)
				passes, wanted := x.Status == 0, library.Check(r) == nil && !stricter[method+"|"+site+"|"+origin]
				if passes != wanted {
					t.Errorf("%q: passes %v, the library says %v", lines, passes, wanted)
				}
			}
		}
	}
}

func TestCSRFMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f(`csrf: {trusted_origins: ["*", "null", a.example.com]}`, "1:26: trusts everybody; remove the block instead",
		"1:31: every site can make its pages send null", `1:39: "a.example.com" is no origin; write for example https://shop.example.com`)
}

func TestCSRFExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, `csrf: {trusted_origins: ["https://ok.example"], same_site: true}`)
	f := func(request, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{Scheme: "https"}
		if got := step.Explain(gateway.WithExchange(middlewaretest.Request(t, request), x), x); got != want || x.Status != status {
			t.Errorf("%q, %d; want %q, %d", got, x.Status, want, status)
		}
	}
	f("GET /", "lets it pass: the method changes nothing", 0)
	f("POST /\nOrigin: https://ok.example", "lets it pass: it comes from a trusted origin", 0)
	f("POST /\nSec-Fetch-Site: same-site", "lets it pass: it comes from the same site", 0)
	f("POST /\nSec-Fetch-Site: cross-site", "answers 403: it comes from the page of another origin", 403)
	f("POST /\nOrigin: https://evil.example", "answers 403: its Origin is another one", 403)
}

func TestCSRFBudget(t *testing.T) {
	for _, request := range []string{"GET /v1/x", "POST /v1/x", "POST /v1/x\nSec-Fetch-Site: same-origin", "POST /v1/x\nOrigin: https://api.example.com"} {
		if n := testing.AllocsPerRun(100, pass(t, `csrf: {trusted_origins: ["https://*.ok.example"]}`, request)); n != 0 {
			t.Errorf("%v allocations for %q", n, request)
		}
	}
}
