//go:build oidc

package oidc_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/test/redistest"
)

// The provider tells one gateway of a logout, and another one has the session.
func TestLogoutOfTwoGateways(t *testing.T) {
	issuer, tell := startProvider(t)
	redis := redistest.Start(t)
	store := fmt.Sprintf("store: {redis: {address: %q, timeout: 1s}}", redis.Addr)
	told, other := startGateway(t, issuer, store), startGateway(t, issuer, store)
	if _, err := fmt.Fprintln(tell, "http://"+told); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, other)
	if p := b.login(outside + "/orders"); p.status != http.StatusOK || !strings.Contains(p.text, "for ada") {
		t.Fatalf("at %s: %d %s", p.at, p.status, p.text)
	}
	at := &browser{Client: newBrowser(t, told).Client, t: t}
	at.Jar = b.Jar
	if p := at.do(http.MethodGet, outside+"/orders", nil); p.status != http.StatusOK {
		t.Fatalf("the session at the other gateway: %d %s", p.status, p.text)
	}
	copied := b.session()
	if p := b.submit(b.do(http.MethodGet, issuer+"/session/end", nil), url.Values{"logout": {"yes"}}); p.status != http.StatusOK {
		t.Fatalf("%d %s", p.status, p.text)
	}
	start := time.Now()
	for {
		p := b.do(http.MethodGet, outside+"/", nil, "Cookie", cookie+"="+copied, "Sec-Fetch-Mode", "cors")
		if p.status == http.StatusUnauthorized {
			break
		}
		if p.status != http.StatusOK || time.Since(start) > 20*time.Second {
			t.Fatalf("after %s: %d %s", time.Since(start), p.status, p.text)
		}
	}
	t.Logf("refused at the other gateway after %s", time.Since(start))
}
