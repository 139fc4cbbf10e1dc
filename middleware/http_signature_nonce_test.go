package middleware_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// TestHTTPSignatureReplay sends signatures again, until nobody could.
func TestHTTPSignatureReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, _ := orders(t)
		step := middlewaretest.Build(t, env, signatureBlock("max_age: 1m, leeway: 10s"))
		ask := func(request string, reason string) {
			t.Helper()
			a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
			got := ""
			if a.Exchange.Err != nil {
				got = a.Exchange.Err.Reason
			}
			if got != reason {
				t.Errorf("after %s: got %q, want %q", time.Since(epoch), got, reason)
			}
		}
		early := shopGet(fmt.Sprintf(`;created=%d;keyid="shop-1";nonce="early"`, time.Now().Add(10*time.Second).Unix()))
		ask(early, "")
		ask(early, "signature_replayed")
		ask(shopGet(now("shop-1")+`;nonce="early"`), "signature_replayed") // another signature with the nonce
		ask("GET /v1/orders?a=1\n"+messageSignature{"sig", bareSecret, getLines, now("bare") + `;nonce="early"`}.fields(), "")
		plain := shopGet(now("shop-1"))
		ask(plain, "")
		ask(plain, "") // there is nothing by which it could be told
		for range 16 {
			<-time.After(5 * time.Second)
			ask(early, "signature_replayed")
		}
		<-time.After(time.Second)
		ask(early, "signature_created") // 81 s later it is too old
		<-time.After(time.Minute)
		ask(shopGet(now("shop-1")+`;nonce="early"`), "signature_replayed") // remembered for longer than it must be
		<-time.After(3 * time.Minute)
		ask(shopGet(now("shop-1")+`;nonce="early"`), "")
	})
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// TestHTTPSignatureNonces: they are demanded, bounded for each key, outlive a
// reload, and are used up by nobody who cannot sign, nor by requests that broke off.
func TestHTTPSignatureNonces(t *testing.T) {
	env, _ := orders(t)
	block := signatureBlock("require_nonce: true, nonces: 2")
	nonce := func(n string) string { return shopGet(now("shop-1") + `;nonce="` + n + `"`) }
	middlewaretest.Run(t, env, block, []middlewaretest.Case{
		{Name: "none", Request: shopGet(now("shop-1")), Status: 401, Reason: "signature_nonce"},
		{Name: "of a stranger", Request: "GET /v1/orders?a=1\n" + messageSignature{"sig", "x", getLines, now("shop-1") + `;nonce="a"`}.fields(), Status: 401, Reason: "signature_invalid"},
		{Name: "with a wrong body", Request: shopPost("hello", "jello", `;nonce="a"`), Status: 401, Reason: "signature_digest"},
		{Name: "with the right one", Request: shopPost("hello", "hello", `;nonce="a"`), Proves: "shop"},
	})
	middlewaretest.Run(t, env, block, []middlewaretest.Case{ // as after a reload
		{Name: "again", Request: nonce("a"), Status: 401, Reason: "signature_replayed"},
		{Name: "another", Request: nonce("b"), Proves: "shop"},
		{Name: "one too many", Request: nonce("c"), Status: 429, Reason: "signature_nonces_full", Header: map[string]string{"Retry-After": "30"}},
		{Name: "of another key", Request: "GET /v1/orders?a=1\n" + messageSignature{"sig", bareSecret, getLines, now("bare") + `;nonce="c"`}.fields(), Proves: "bare"},
	})
}

// TestHTTPSignatureRace sends one signature from many sides at once: one passes.
func TestHTTPSignatureRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env, up := orders(t)
		step := middlewaretest.Build(t, env, signatureBlock(""))
		request := shopGet(now("shop-1") + `;nonce="once"`)
		for range 50 {
			go func() {
				middlewaretest.Send(t, env, step, middlewaretest.Request(t, request), &gateway.Exchange{})
			}()
		}
		synctest.Wait()
		if _, count := up.Last(); count != 1 {
			t.Errorf("%d passed", count)
		}
	})
}
