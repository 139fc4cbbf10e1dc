// Package oidc logs in at an OpenID provider that others have written: npm's
// oidc-provider, which its tests start. They need Node.js 18, and run by
//
//	make oidc
//
// The tests follow redirects and fill in forms as a browser would.
package oidc
