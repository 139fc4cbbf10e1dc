package jwks_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/jwks"
)

func TestParseSet(t *testing.T) {
	good := strings.TrimSuffix(strings.TrimPrefix(edSet("good"), `{"keys":[`), "]}")
	like := func(edit string) string { return good[:len(good)-1] + "," + edit + "}" }
	named := func(kid string) string { return strings.Replace(good, `"good"`, `"`+kid+`"`, 1) }
	f := func(name, more, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			s, err := jwks.ParseSet(`{"keys":[` + good + "," + more + "]}")
			if err != nil || s.Len() != 1 || len(s.Ignored) != 1 || !strings.Contains(s.Ignored[0], want) {
				t.Errorf("%+v, %v; want one key, and of the other: %q", s, err, want)
			}
		})
	}
	other := strings.Replace(like(""), `"good"`, `"other"`, 1)
	with := func(edit string) string { return strings.Replace(other, ",}", ","+edit+"}", 1) }
	f("K07: for encryption", with(`"use":"enc"`), "is not for verifying")
	f("K07: use a number", with(`"use":1`), "is not for verifying")
	f("K07: for signing", with(`"key_ops":["sign"]`), "is not for verifying")
	f("K07: private", with(`"d":"AA"`), "is a private key")
	f("K07: a secret", `{"kty":"oct","k":"`+strings.Repeat("A", 64)+`"}`, `is of type "oct"`)
	f("another algorithm", with(`"alg":"RS256"`), "which is not supported with it")
	f("no object", "7", "is no JSON object")
	f("kid a number", `{"kty":"OKP","crv":"Ed25519","kid":7,"x":"AA"}`, "has a kid that is no short text")
	f("another curve", `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`, `curve "secp256k1"`)
	f("no point", `{"kty":"EC","crv":"P-256","x":"`+strings.Repeat("A", 43)+`","y":"`+strings.Repeat("A", 43)+`"}`, "is no point of its curve")
	f("short coordinates", `{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}`, "wrong size")
	f("padded", `{"kty":"OKP","crv":"Ed25519","x":"AA=="}`, "has no good x")
	f("short Ed25519", `{"kty":"OKP","crv":"Ed25519","x":"AA"}`, "is no Ed25519 key")
	rsaKey := func(bits uint, e string) string {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, base64.RawURLEncoding.EncodeToString(n.Add(n, big.NewInt(1)).Bytes()), e)
	}
	f("J07: 512 bits", rsaKey(512, "AQAB"), "has 512 bits")
	f("J07: 1024 bits", rsaKey(1024, "AQAB"), "has 1024 bits")
	f("J07: 16384 bits", rsaKey(16384, "AQAB"), "has 16384 bits")
	f("exponent 1", rsaKey(2048, "AQ"), "bad exponent")
	f("exponent even", rsaKey(2048, "BA"), "bad exponent")
	f("exponent huge", rsaKey(2048, "_________w"), "bad exponent")

	t.Run("K07: duplicate kid", func(t *testing.T) {
		s, err := jwks.ParseSet(`{"keys":[` + good + "," + named("twice") + "," + named("twice") + "]}")
		want := []string{"key 1 shares its kid with another one", "key 2 shares its kid with another one"}
		if err != nil || s.Len() != 1 || !cmp.Equal(s.Ignored, want) {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run("K02: 101 keys", func(t *testing.T) {
		if _, err := jwks.ParseSet(`{"keys":[` + strings.Repeat(good+",", 100) + good + "]}"); err == nil || !strings.Contains(err.Error(), "101 keys") {
			t.Error(err)
		}
	})
	for _, document := range []string{"", "[]", "null", "{}", `{"keys":{}}`, `{"keys":[]}`, `{"keys":[1]}`, edSet("a") + "x", `{"keys":[],"keys":[]}`} {
		if s, err := jwks.ParseSet(document); err == nil {
			t.Errorf("%q: %+v, want an error", document, s)
		}
	}
}

// A modulus of one in 2^27 looks like those of CVE-2017-15361; Wycheproof has one
// that is. Ones that are not must pass.
func TestGoodKeysPass(t *testing.T) {
	for range 3 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		document := fmt.Sprintf(`{"keys":[{"kty":"RSA","n":%q,"e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
		if s, err := jwks.ParseSet(document); err != nil || s.Len() != 1 {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

// The examples of RFC 7515, appendices A.2 and A.3. Those of RFC 7520 are among the
// vectors of Wycheproof.
func TestRFC7515(t *testing.T) {
	f := func(name, key, token string, payload string) {
		t.Helper()
		s, err := jwks.ParseSet(`{"keys":[` + key + `]}`)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		parsed, err := jwks.ParseToken(token)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := s.Verify(parsed); err != nil || parsed.Payload != payload {
			t.Errorf("%s: %v, payload %q", name, err, parsed.Payload)
		}
		changed, err := jwks.ParseToken(strings.Replace(token, ".eyJ", ".eyK", 1))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		wantErr(t, s.Verify(changed), jwks.ErrSignature)
	}
	const claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
	const payload = ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	f("A.3", `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
		"eyJhbGciOiJFUzI1NiJ9"+payload+"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", claims)
	f("A.2", `{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}`,
		"eyJhbGciOiJSUzI1NiJ9"+payload+"cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw", claims)
}

func TestParseTokenErrors(t *testing.T) {
	f := func(token string, want error) {
		t.Helper()
		if _, err := jwks.ParseToken(token); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", token, err, want)
		}
	}
	f(strings.Repeat("a", jwks.MaxToken+1), jwks.ErrTooLarge)
	f("", jwks.ErrMalformed)
	f("..", jwks.ErrMalformed)
	f("a.b", jwks.ErrMalformed)
	f("a.b.c.d", jwks.ErrMalformed)
	f("eyJhbGciOiJFUzI1NiJ9.e30.AA\n", jwks.ErrMalformed)
	f("eyJhbGciOiJFUzI1NiJ9.e3\n0.AA", jwks.ErrMalformed)
	t.Run("J28: size comes before all else", func(t *testing.T) {
		huge := strings.Repeat(".", 8<<20)
		if n := testing.AllocsPerRun(1000, func() { _, _ = jwks.ParseToken(huge) }); n != 0 {
			t.Errorf("%v allocations for 8 MiB", n)
		}
	})
}
