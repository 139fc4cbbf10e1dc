package gateway

import "context"

// Opener opens what has been sealed for this gateway, so that files with secrets
// in them can lie where everybody reads them. Many goroutines may call it at once.
type Opener interface {
	// Open returns what is sealed. The form of sealed says how: `age:` and a file of
	// age in base64, or what the transit engine of Vault calls a ciphertext. Its errors
	// do not repeat what was in it.
	Open(ctx context.Context, sealed string) ([]byte, error)
}
