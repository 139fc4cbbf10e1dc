package jwks_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/pithead/pithead/gateway/jwks"
)

type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []struct {
			TcID            int
			Comment, Result string
			JWS             string
		}
	}
}

func readVectors(t *testing.T, name string) (v vectors) {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// verify does what the gateway does with a token, with the key or keys of a group.
func verify(public, private json.RawMessage, token string) error {
	document, parse := string(public), jwks.ParseSet
	if public == nil {
		document, parse = string(private), jwks.ParseSecret
	}
	var set struct{ Keys json.RawMessage }
	if err := json.Unmarshal([]byte(document), &set); err != nil {
		return err
	}
	if set.Keys == nil {
		document = fmt.Sprintf(`{"keys": [%s]}`, document)
	}
	keys, err := parse(document)
	if err != nil {
		return err
	}
	parsed, err := jwks.ParseToken(token)
	if err != nil {
		return err
	}
	return keys.Verify(parsed)
}

// otherwise are the vectors of which the opposite is right, and why. Everything
// else must be as stated.
var otherwise = map[int]string{
	346: "its key has another alg than the token: RFC 7517, 4.4",
	347: "its key has an alg that does not exist",
	350: "as 346",
	351: "as 347",
	367: "is the same token, byte by byte, as 357, which is valid",
	370: "as 367",
	372: "has a question mark in its header: RFC 7515, 2, has no such character",
	373: "has one in its payload",
}

func TestWycheproof(t *testing.T) {
	run := func(name, file string, tests int, otherwise map[int]string) {
		t.Run(name, func(t *testing.T) {
			v, ran := readVectors(t, file), 0
			for _, g := range v.TestGroups {
				for _, c := range g.Tests {
					ran++
					err := verify(g.Public, g.Private, c.JWS)
					want := c.Result == "valid"
					if why, differs := otherwise[c.TcID]; differs {
						want = !want
						t.Logf("%d, %s: %v, since it %s", c.TcID, c.Comment, err, why)
					}
					if (err == nil) != want {
						t.Errorf("%d, %s, %s: stated as %s, got %v", c.TcID, g.Comment, c.Comment, c.Result, err)
					}
				}
			}
			if ran != tests || v.NumberOfTests != tests {
				t.Errorf("%d vectors ran, want %d", ran, tests)
			}
		})
	}
	run("J36: signatures", "json_web_signature_test.json", 401, otherwise)
	run("J36: keys", "json_web_key_test.json", 26, nil)
}
