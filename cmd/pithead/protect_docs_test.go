//go:build oidc

package main

import (
	"path/filepath"
	"testing"
)

// The page about protecting an API does what it says, with the real provider.
func TestProtectDocs(t *testing.T) {
	provider, err := filepath.Abs("../../test/oidc/provider.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if n := walk(t, "../../docs/howto/protect-an-api.md", "make provider", "node "+provider+" --port 9100"); n < 20 {
		t.Errorf("only %d commands found", n)
	}
}
