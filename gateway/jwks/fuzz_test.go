package jwks_test

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"testing"

	"github.com/pithead/pithead/gateway/jwks"
)

// Whatever is accepted means the same to encoding/json.
func FuzzParseObject(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"a":1}`, `{"a":[true,false,null,"x\u00e9\ud83d\ude00",-1.5e3]}`, `{"a":{"a":{}}}`, `{"a":1,"a":2}`,
		`{"\u0061":1,"a":2}`, ` {"a" : "\/\b\f\n\r\t\"\\" } `, `{"a":01}`, `{"a":1.}`, `{"a":"\ud800"}`, `[1]`, `null`, `{"a":1}x`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := jwks.ParseObject(text)
		if err != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader([]byte(text)))
		dec.UseNumber()
		var want map[string]any
		if err := dec.Decode(&want); err != nil {
			t.Fatalf("%q is accepted; encoding/json says %v", text, err)
		}
		if _, err := dec.Token(); err != io.EOF {
			t.Fatalf("%q is accepted with more behind it", text)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	})
}

// Documents of keys never panic, and what is taken of them verifies what its own
// keys have signed and nothing else.
func FuzzJWKS(f *testing.F) {
	f.Add(edSet("a"))
	f.Add(edSet("a", "b", "a"))
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`)
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)
	f.Add(`{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`)
	f.Fuzz(func(t *testing.T, document string) {
		for _, parse := range []func(string) (*jwks.Set, error){jwks.ParseSet, jwks.ParseSecret} {
			s, err := parse(document)
			if err != nil {
				continue
			}
			if s.Len() < 1 || s.Len() > 100 {
				t.Fatalf("%q: %d keys", document, s.Len())
			}
			token, err := jwks.ParseToken("eyJhbGciOiJub25lIn0.e30.")
			if err != nil {
				t.Fatal(err)
			}
			if s.Verify(token) == nil {
				t.Fatalf("%q verifies what nobody has signed", document)
			}
		}
	})
}
