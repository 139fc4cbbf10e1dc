// Package oidc logs in at an OpenID provider that others have written: npm's
// oidc-provider, which its tests start. They need Node.js 18 and Chromium, and run by
//
//	make oidc
//
// `make provider` starts it to try things with.
//
// One test follows redirects and fills in forms as a browser would, another one has Chromium
// do it.
package oidc
