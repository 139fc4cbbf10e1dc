// Package gatewayapi proves that routes mean here what they mean in the Gateway
// API. It has no code of its own, only tests: each states the routes of one test of
// the conformance suite (v1.4 and v1.5) as a configuration, starts a gateway with
// it, and asks what the suite asks. Tests have the names that they have there, so
//
//	go test ./test/gatewayapi/ -run TestHTTPRouteHeaderMatching
//
// is HTTPRouteHeaderMatching. What the suite says of Kubernetes, of the status of
// objects above all, has no counterpart here.
//
// docs/gateway-api.md lists the fields, and which of these tests prove what.
package gatewayapi
