package middleware_test

import (
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// A name that anybody can give himself opens no door: not that of the gateway's own health
// checks, nor that of a cloud's (CVE-2026-34457).
func TestUserAgentProvesNothing(t *testing.T) {
	auth := middlewaretest.NewCluster("auth").Handle(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"), auth)
	for name, block := range map[string]string{
		"jwt": jwtBlock(""), "oauth2_introspection": newAuthServer(t, nil).block(""), "oidc": oidcBlock("https://id.example.com", ""),
		"mtls": "mtls: {uris: [\"spiffe://example.org/a\"]}", "forward_auth": "forward_auth: {to: auth, request_headers: [User-Agent]}",
	} {
		step := middlewaretest.Build(t, env, block)
		for _, agent := range []string{"pithead", "kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Consul Health Check"} {
			t.Run("I22: "+name+" "+agent, func(t *testing.T) {
				a := middlewaretest.Send(t, env, step, middlewaretest.Request(t, "GET /healthz\nUser-Agent: "+agent), &gateway.Exchange{})
				if a.Sent != nil || a.Status != http.StatusUnauthorized && a.Status != http.StatusForbidden {
					t.Errorf("status %d as %q", a.Status, a.Exchange.Subject)
				}
			})
		}
	}
}
