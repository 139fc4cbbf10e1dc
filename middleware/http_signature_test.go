package middleware_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const (
	shopSecret = "a secret of the shop with 32 bytes or more"
	bareSecret = "another secret, of nobody in particular..."
)

// signatureBlock is the block with two keys, one of which has everything.
func signatureBlock(settings string) string {
	return "http_signature: {keys: [{id: shop-1, secret: \"" + shopSecret + "\", subject: shop, meta: {plan: gold}}, {id: bare, secret: \"" + bareSecret + "\"}], " +
		settings + "}"
}

// messageSignature is a request with a signature over lines of `"component": value`.
type messageSignature struct {
	label, secret string
	lines         []string
	params        string // what follows the list
}

// fields are the two header lines.
func (s messageSignature) fields() string {
	var ids []string
	for _, line := range s.lines {
		id, _, _ := strings.Cut(line, ": ")
		ids = append(ids, id)
	}
	params := "(" + strings.Join(ids, " ") + ")" + s.params
	base := strings.Join(append(slices.Clip(s.lines), `"@signature-params": `+params), "\n")
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write([]byte(base))
	return fmt.Sprintf("Signature-Input: %s=%s\nSignature: %s=:%s:", s.label, params, s.label, base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// now is the parameters of a signature that is made at this moment.
func now(keyID string) string {
	return fmt.Sprintf(`;created=%d;keyid="%s"`, time.Now().Unix(), keyID)
}

var getLines = []string{`"@method": GET`, `"@target-uri": https://api.example.com/v1/orders?a=1`}

// shopGet is a request that passes.
func shopGet(params string) string {
	return "GET /v1/orders?a=1\n" + messageSignature{"sig", shopSecret, getLines, params}.fields()
}

func sha256Field(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// shopPost is a signed request with a body, which may be another one than was signed.
func shopPost(signedBody, sentBody, more string) string {
	digest := sha256Field(signedBody)
	lines := []string{`"@method": POST`, `"@target-uri": https://api.example.com/`, `"content-digest": ` + digest}
	return "POST /\nContent-Digest: " + digest + "\n" + messageSignature{"sig", shopSecret, lines, now("shop-1") + more}.fields() + "\n\n" + sentBody
}

func TestHTTPSignature(t *testing.T) {
	env, _ := orders(t)
	challenge := map[string]string{"WWW-Authenticate": `Signature realm="pithead", covers="@method @target-uri content-digest"`}
	of := func(secret, params string, lines ...string) string {
		return "GET /v1/orders?a=1\n" + messageSignature{"sig", secret, lines, params}.fields()
	}
	const authority, path, query = `"@authority": api.example.com`, `"@path": /v1/orders`, `"@query": ?a=1`
	at := func(d time.Duration) string {
		return fmt.Sprintf(`;created=%d;keyid="shop-1"`, time.Now().Add(d).Unix())
	}
	until := func(d time.Duration) string { return fmt.Sprintf(`;expires=%d`, time.Now().Add(d).Unix()) }
	good := shopGet(now("shop-1"))
	middlewaretest.Run(t, env, signatureBlock("headers: {x-plan: plan, x-key-id: id, x-who: subject}"), []middlewaretest.Case{
		{
			Name: "good", Request: good, Proves: "shop",
			Sent: map[string]string{"X-Plan": "gold", "X-Key-Id": "shop-1", "X-Who": "shop", "Signature": "", "Signature-Input": ""},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if diff := cmp.Diff(gateway.Claims{"plan": "gold", "id": "shop-1"}, a.Exchange.Claims); diff != "" {
					t.Error(diff)
				}
			},
		},
		{Name: "without meta", Request: of(bareSecret, now("bare"), getLines...), Proves: "bare", Sent: map[string]string{"X-Plan": "", "X-Who": "bare"}},
		{Name: "the target in parts", Request: of(shopSecret, now("shop-1"), `"@method": GET`, authority, path, query), Proves: "shop"},
		{Name: "the target in two", Request: of(shopSecret, now("shop-1"), `"@method": GET`, authority, `"@request-target": /v1/orders?a=1`), Proves: "shop"},
		{Name: "alg of the key", Request: shopGet(now("shop-1") + `;alg="hmac-sha256"`), Proves: "shop"},
		{Name: "more is covered", Request: of(shopSecret, now("shop-1"), append([]string{`"@query-param";name="a": 1`}, getLines...)...), Proves: "shop"},
		{Name: "a little early", Request: shopGet(at(29 * time.Second)), Proves: "shop"},
		{Name: "old", Request: shopGet(at(-5 * time.Minute)), Proves: "shop"},
		{Name: "expires soon", Request: shopGet(now("shop-1") + until(time.Minute)), Proves: "shop"},

		{Name: "nothing", Request: "GET /v1/orders?a=1", Status: 401, Reason: "signature_missing", Header: challenge},
		{Name: "one field", Request: "GET /\nSignature: sig=:AAAA:", Status: 400, Reason: "signature_malformed", Header: map[string]string{"WWW-Authenticate": ""}},
		{Name: "duplicated label", Request: good + "\nSignature: sig=:AAAA:", Status: 400, Reason: "signature_malformed"},
		{Name: "duplicated parameter", Request: shopGet(now("shop-1") + `;keyid="bare"`), Status: 400, Reason: "signature_malformed"},
		{Name: "unknown key", Request: shopGet(now("shop-2")), Status: 401, Reason: "signature_key", Header: challenge},
		{Name: "no key", Request: shopGet(fmt.Sprintf(";created=%d", time.Now().Unix())), Status: 401, Reason: "signature_key"},
		{Name: "the key of another", Request: of(bareSecret, now("shop-1"), getLines...), Status: 401, Reason: "signature_invalid", Header: challenge},
		{Name: "alg swapped", Request: shopGet(now("shop-1") + `;alg="ed25519"`), Status: 401, Reason: "signature_algorithm"},
		{Name: "alg none", Request: shopGet(now("shop-1") + `;alg="none"`), Status: 401, Reason: "signature_algorithm"},
		{Name: "another method", Request: strings.Replace(good, "GET", "DELETE", 1), Status: 401, Reason: "signature_invalid"},
		{Name: "another query", Request: strings.Replace(good, "a=1", "a=2", 1), Status: 401, Reason: "signature_invalid"},
		{Name: "another path", Request: strings.Replace(good, "/v1/orders", "/v1/admin", 1), Status: 401, Reason: "signature_invalid"},
		{Name: "another host", Request: strings.Replace(good, "GET /", "GET http://admin.example.com/", 1), Status: 401, Reason: "signature_invalid"},
		{Name: "another scheme", Request: good, Prepare: scheme("http"), Status: 401, Reason: "signature_invalid"},
		{Name: "the method is not covered", Request: of(shopSecret, now("shop-1"), getLines[1]), Status: 401, Reason: "signature_components"},
		{Name: "the query is not covered", Request: of(shopSecret, now("shop-1"), getLines[0], authority, path), Status: 401, Reason: "signature_components"},
		{Name: "one parameter is not the query", Request: of(shopSecret, now("shop-1"), getLines[0], authority, path, `"@query-param";name="a": 1`), Status: 401, Reason: "signature_components"},
		{Name: "nothing is covered", Request: of(shopSecret, now("shop-1")), Status: 401, Reason: "signature_components"},
		{Name: "covers what is not there", Request: of(shopSecret, now("shop-1"), append([]string{`"x-none": a`}, getLines...)...), Status: 401, Reason: "signature_components"},
		{Name: "created is missing", Request: shopGet(`;keyid="shop-1"`), Status: 401, Reason: "signature_created"},
		{Name: "from the future", Request: shopGet(at(time.Minute)), Status: 401, Reason: "signature_created"},
		{Name: "from far in the future", Request: shopGet(`;created=999999999999999;keyid="shop-1"`), Status: 401, Reason: "signature_created"},
		{Name: "too old", Request: shopGet(at(-6 * time.Minute)), Status: 401, Reason: "signature_created"},
		{Name: "from the beginning", Request: shopGet(`;created=0;keyid="shop-1"`), Status: 401, Reason: "signature_created"},
		{Name: "expired", Request: shopGet(at(-2*time.Minute) + until(-time.Minute)), Status: 401, Reason: "signature_expired"},
		{Name: "expires before it was made", Request: shopGet(now("shop-1") + until(-time.Second)), Status: 401, Reason: "signature_expired"},
		{Name: "a long nonce", Request: shopGet(now("shop-1") + `;nonce="` + strings.Repeat("n", 257) + `"`), Status: 401, Reason: "signature_nonce"},
	})
}

func scheme(name string) func(*http.Request, *gateway.Exchange) {
	return func(_ *http.Request, x *gateway.Exchange) { x.Scheme = name }
}

// TestHTTPSignatureBody compares bodies with what is signed, before anything is sent on.
func TestHTTPSignatureBody(t *testing.T) {
	env, up := orders(t)
	var got string
	up.Handle(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
	})
	block := signatureBlock("max_body: 16B")
	chunked := func(r *http.Request, _ *gateway.Exchange) { r.ContentLength = -1 }
	large := strings.Repeat("x", 17)
	whole := strings.Repeat("x", 16)
	twice := shopPost("hello", "hello", "")
	undigested := "POST /\nContent-Digest: " + sha256Field("hello") + "\n" +
		messageSignature{"sig", shopSecret, []string{`"@method": POST`, `"@target-uri": https://api.example.com/`}, now("shop-1")}.fields() + "\n\nhello"
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "right", Request: twice, Proves: "shop", Check: func(t testing.TB, a middlewaretest.Answer) {
			if got != "hello" || a.Sent.ContentLength != 5 || a.Sent.Header.Get("Content-Digest") == "" {
				t.Errorf("the upstream got %q of %d bytes with %v", got, a.Sent.ContentLength, a.Sent.Header)
			}
		}},
		{Name: "right, without a length", Request: twice, Prepare: chunked, Proves: "shop"},
		{Name: "as large as it may be", Request: shopPost(whole, whole, ""), Proves: "shop"},
		{Name: "a digest of nothing", Request: shopPost("", "", ""), Proves: "shop"},
		{Name: "changed", Request: shopPost("hello", "jello", ""), Status: 401, Reason: "signature_digest"},
		{Name: "cut", Request: shopPost("hello", "hell", ""), Status: 401, Reason: "signature_digest"},
		{Name: "taken away", Request: shopPost("hello", "", ""), Status: 401, Reason: "signature_digest"},
		{Name: "too large", Request: shopPost(large, large, ""), Status: 413, Reason: "signature_body_too_large"},
		{Name: "too large, without a length", Request: shopPost(large, large, ""), Prepare: chunked, Status: 413, Reason: "signature_body_too_large"},
		{Name: "the digest is not covered", Request: undigested, Status: 401, Reason: "signature_components"},
		{Name: "a stranger's body is not read", Request: strings.Replace(twice, "POST", "PUT", 1), Status: 401, Reason: "signature_invalid", Prepare: func(r *http.Request, _ *gateway.Exchange) {
			r.Body = io.NopCloser(iotest.ErrReader(errors.New("has been read")))
		}},
		{Name: "broken off", Request: twice, Status: 400, Reason: "signature_body", Prepare: func(r *http.Request, _ *gateway.Exchange) {
			r.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
		}},
		{Name: "beyond the limit of the route", Request: twice, Status: 413, Reason: "body_too_large", Prepare: func(r *http.Request, _ *gateway.Exchange) {
			r.Body = http.MaxBytesReader(nil, r.Body, 2)
		}},
	})
}

// TestHTTPSignatureSeveral are messages with more than one signature.
func TestHTTPSignatureSeveral(t *testing.T) {
	env, _ := orders(t)
	sign := func(label, secret, params string) string {
		return messageSignature{label, secret, getLines, params}.fields()
	}
	request := func(fields ...string) string { return "GET /v1/orders?a=1\n" + strings.Join(fields, "\n") }
	wrong := func(label string) string { return sign(label, "wrong", now("shop-1")) }
	stranger := sign("other", "stranger", now("stranger"))
	middlewaretest.Run(t, env, signatureBlock(""), []middlewaretest.Case{
		{Name: "one of a stranger", Request: request(stranger, sign("b", bareSecret, now("bare"))), Proves: "bare"},
		{Name: "the third is right", Request: request(wrong("a"), wrong("b"), sign("c", bareSecret, now("bare"))), Proves: "bare"},
		{Name: "the fourth is not looked at", Request: request(wrong("a"), wrong("b"), wrong("c"), sign("d", bareSecret, now("bare"))), Status: 401, Reason: "signature_invalid"},
		{Name: "only of strangers", Request: request(stranger), Status: 401, Reason: "signature_key"},
	})
	middlewaretest.Run(t, env, signatureBlock("label: edge, tag: orders"), []middlewaretest.Case{
		{Name: "label and tag", Request: request(sign("x", shopSecret, now("shop-1")), sign("edge", bareSecret, now("bare")+`;tag="orders"`)), Proves: "bare"},
		{Name: "another label", Request: request(sign("x", bareSecret, now("bare")+`;tag="orders"`)), Status: 401, Reason: "signature_key"},
		{Name: "another tag", Request: request(sign("edge", bareSecret, now("bare")+`;tag="order"`)), Status: 401, Reason: "signature_key"},
		{Name: "no tag", Request: request(sign("edge", bareSecret, now("bare"))), Status: 401, Reason: "signature_key"},
	})
}

// TestHTTPSignatureView takes scheme and host as a trusted proxy tells them, and the
// request as the client has sent it.
func TestHTTPSignatureView(t *testing.T) {
	env, _ := orders(t)
	good := shopGet(now("shop-1"))
	behind := func(trusted bool) func(*http.Request, *gateway.Exchange) {
		return func(r *http.Request, x *gateway.Exchange) {
			x.Trusted = trusted
			r.Host = "internal.example.com"
			r.Header.Set("X-Forwarded-Host", "api.example.com")
		}
	}
	middlewaretest.Run(t, env, signatureBlock("forward: true"), []middlewaretest.Case{
		{Name: "behind a trusted proxy", Request: good, Prepare: behind(true), Proves: "shop"},
		{Name: "behind somebody", Request: good, Prepare: behind(false), Status: 401, Reason: "signature_invalid"},
		{
			Name: "after a rewrite", Request: good, Proves: "shop",
			Prepare: func(r *http.Request, x *gateway.Exchange) {
				x.Request = r.Clone(r.Context())
				r.URL.Path = "/rewritten"
			},
			Check: func(t testing.TB, a middlewaretest.Answer) {
				if a.Sent.URL.Path != "/rewritten" || a.Sent.Header.Get("Signature") == "" || a.Sent.Header.Get("Signature-Input") == "" {
					t.Errorf("sent %s with %v", a.Sent.URL, a.Sent.Header)
				}
			},
		},
	})
}

// TestHTTPSignatureComponents demands what the operator has listed.
func TestHTTPSignatureComponents(t *testing.T) {
	env, _ := orders(t)
	of := func(more string, lines ...string) string {
		return "POST /v1/orders?a=1\n" + more + messageSignature{"sig", shopSecret, lines, now("shop-1")}.fields() + "\n\nbody"
	}
	middlewaretest.Run(t, env, signatureBlock(`components: ["@path", date, "@scheme"]`), []middlewaretest.Case{
		{Name: "all", Request: of("Date: today\n", `"@path": /v1/orders`, `"date": today`, `"@scheme": https`), Proves: "shop"},
		{Name: "in others", Request: of("Date: today\n", `"@target-uri": https://api.example.com/v1/orders?a=1`, `"date";bs: :dG9kYXk=:`), Proves: "shop"},
		{Name: "a part of a field", Request: of("Date: a=1\n", `"@target-uri": https://api.example.com/v1/orders?a=1`, `"date";key="a": 1`), Status: 401, Reason: "signature_components"},
		{Name: "without the field", Request: of("Date: today\n", `"@target-uri": https://api.example.com/v1/orders?a=1`), Status: 401, Reason: "signature_components"},
	})
	middlewaretest.Run(t, env, signatureBlock(`components: ["@request-target"]`), []middlewaretest.Case{
		{Name: "path and query", Request: of("", `"@path": /v1/orders`, `"@query": ?a=1`), Proves: "shop"},
		{Name: "path alone", Request: of("", `"@path": /v1/orders`), Status: 401, Reason: "signature_components"},
	})
}
