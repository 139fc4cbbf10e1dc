package httpsig

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// FuzzBase parses fields and computes bases. What is accepted has a base of one line
// for each component, which nobody can have put a line into, and says the same when
// it is parsed again.
func FuzzBase(f *testing.F) {
	f.Add(`a=("@method" "@path");created=1;keyid="k"`, "a=:AAAA:", "x", "a=1&b=2")
	f.Add(`a=("x";key="a" "@query-param";name="a"), b=("x";bs)`, "a=:AAAA:,b=:AA==:", "a=1, b", "a=%0a")
	f.Add(`a=("x";sf "content-digest";sf);nonce="n\"n"`, "a=:AAAA:", "sha-256=:AAAA:", "")
	f.Add(`a=("@method");created=1;created=2`, "a=:AAAA:", "\x00\n", "&&=&")
	f.Fuzz(func(t *testing.T, input, value, field, query string) {
		all, err := Parse([]string{input}, []string{value})
		if err != nil {
			return
		}
		m := &Message{
			Method: "GET", Scheme: "https", Authority: "example.com", Path: "/", Query: query,
			Header: http.Header{"X": {field}, "Content-Digest": {field}},
		}
		for _, s := range all {
			again, err := Parse([]string{s.Label + "=" + s.params}, []string{s.Label + "=:AAAA:"})
			if err != nil || again[0].params != s.params || again[0].KeyID != s.KeyID {
				t.Fatalf("%q is not what it says: %v", s.params, err)
			}
			base, err := s.Base(m)
			if err != nil {
				continue
			}
			if n := bytes.Count(base, []byte("\n")); n != len(s.Components) {
				t.Fatalf("%d lines for %d components:\n%s", n, len(s.Components), base)
			}
			if !strings.HasSuffix(string(base), `"@signature-params": `+s.params) {
				t.Fatalf("ends without its parameters:\n%s", base)
			}
		}
	})
}
