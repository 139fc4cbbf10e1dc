package middleware_test

import (
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
	"github.com/pithead/pithead/test/redistest"
)

// signedGateway is a gateway that asks for signatures.
type signedGateway struct {
	t    *testing.T
	env  middleware.Env
	step gateway.Step
}

func newSigned(t *testing.T, settings string) signedGateway {
	t.Helper()
	env, _ := orders(t)
	return signedGateway{t, env, begin(t, middlewaretest.Build(t, env, signatureBlock(settings)))}
}

func (g signedGateway) wants(when, request, reason string) {
	g.t.Helper()
	a := middlewaretest.Send(g.t, g.env, g.step, middlewaretest.Request(g.t, request), &gateway.Exchange{})
	got := ""
	if a.Exchange.Err != nil {
		got = a.Exchange.Err.Reason
	}
	if got != reason {
		g.t.Errorf("%s: %d %q, want %q", when, a.Status, got, reason)
	}
}

// A nonce that was used at one gateway is good at none, whatever becomes of Redis.
func TestHTTPSignatureStore(t *testing.T) {
	nonce := func(n string) string { return shopGet(now("shop-1") + `;nonce="` + n + `"`) }
	f := func(onError, away, again string) {
		t.Helper()
		t.Run(onError, func(t *testing.T) {
			server := redistest.Start(t)
			settings := "on_store_error: " + onError + ", " + at(server, "")
			one, two := newSigned(t, settings), newSigned(t, settings)
			t.Cleanup(server.Kill)
			one.wants("first", nonce("a"), "")
			one.wants("again", nonce("a"), "signature_replayed")
			two.wants("again at the other", nonce("a"), "signature_replayed")
			two.wants("another", nonce("b"), "")
			two.wants("of another key", "GET /v1/orders?a=1\n"+messageSignature{"sig", bareSecret, getLines, now("bare") + `;nonce="a"`}.fields(), "")
			two.wants("none", shopGet(now("shop-1")), "")
			holdsNone(t, server, "shop-1", "shop", "bare")
			server.Kill()
			one.wants("without Redis", nonce("c"), away)
			one.wants("without Redis, used here before", nonce("a"), "signature_replayed")
			one.wants("the one without Redis again", nonce("c"), again)
			one.wants("no nonce", shopGet(now("shop-1")), "")
		})
	}
	f("closed", "signature_store", "signature_store")
	f("local", "", "signature_replayed")
}

func TestHTTPSignatureStoreMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(settings, want string) {
		t.Helper()
		got := middlewaretest.Mistakes(t, env, signatureBlock(settings))
		if len(got) != 1 || !strings.HasSuffix(got[0], ": "+want) {
			t.Errorf("%s: %q, want %q", settings, got, want)
		}
	}
	f("on_store_error: local", "is of no use without a store")
	f("on_store_error: open, store: {redis: {address: 'a:1'}}", `"open" is none of local, closed`)
	f("store: {}", `store: "redis" is required`)
	f("store: {redis: {address: 'a:1', tls: {ca: /none.pem}}}", "stat /none.pem: no such file or directory")
}
