package httpsig

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// The keys of RFC 9421, appendix B.1.
const (
	rfcRSA = `-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEAhAKYdtoeoy8zcAcR874L8cnZxKzAGwd7v36APp7Pv6Q2jdsPBRrw
WEBnez6d0UDKDwGbc6nxfEXAy5mbhgajzrw3MOEt8uA5txSKobBpKDeBLOsdJKFq
MGmXCQvEG7YemcxDTRPxAleIAgYYRjTSd/QBwVW9OwNFhekro3RtlinV0a75jfZg
kne/YiktSvLG34lw2zqXBDTC5NHROUqGTlML4PlNZS5Ri2U4aCNx2rUPRcKIlE0P
uKxI4T+HIaFpv8+rdV6eUgOrB2xeI1dSFFn/nnv5OoZJEIB+VmuKn3DCUcCZSFlQ
PSXSfBDiUGhwOw76WuSSsf1D4b/vLoJ10wIDAQAB
-----END RSA PUBLIC KEY-----`
	rfcRSAPSS = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2
+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+Lh1GH45x28Rw3Ry53mm+
oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHq
gDsznjPFmTOtCEcN2Z1FpWgchwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5W
Utzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4
aOT9v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI
2wIDAQAB
-----END PUBLIC KEY-----`
	rfcP256 = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf
w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==
-----END PUBLIC KEY-----`
	rfcEd25519 = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=
-----END PUBLIC KEY-----`
	rfcSecret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="

	rfcDigest = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
	rfcAnswer = "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
	rfcCert   = ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"
)

func public(t testing.TB, pem, algorithm string) *Key {
	t.Helper()
	key, err := ParsePEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	k, err := PublicKey(key, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func secret(t testing.TB) *Key {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(rfcSecret)
	if err != nil {
		t.Fatal(err)
	}
	k, err := SecretKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rfcRequest is the test-request of appendix B.2, as it is seen under a host.
func rfcRequest(authority string, more ...string) *Message {
	m := &Message{
		Method: "POST", Scheme: "https", Authority: authority, Path: "/foo", Query: "param=Value&Pet=dog",
		Header: http.Header{
			"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}, "Content-Type": {"application/json"},
			"Content-Digest": {rfcDigest}, "Content-Length": {"18"},
		},
	}
	for i := 0; i < len(more); i += 2 {
		m.Header.Set(more[i], more[i+1])
	}
	return m
}

// TestRFC9421Requests are the signed requests of the RFC.
func TestRFC9421Requests(t *testing.T) {
	for _, c := range []struct {
		name, input, value string
		key                *Key
		message            *Message
	}{
		{
			"B.2.1", `sig-b21=();created=1618884473;keyid="test-key-rsa-pss";nonce="b3k2pp5k7z-50gnwp.yemd"`,
			"d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0mKZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO5Nyt8C8ssinQ98Xw9Q==",
			public(t, rfcRSAPSS, ""), rfcRequest("example.com"),
		},
		{
			"B.2.2", `sig-b22=("@authority" "content-digest" "@query-param";name="Pet");created=1618884473;keyid="test-key-rsa-pss";tag="header-example"`,
			"LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+ECxCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7Cl+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQl3/XaVe4bXTugEjHSw==",
			public(t, rfcRSAPSS, RSAPSSSHA512), rfcRequest("example.com"),
		},
		{
			"B.2.3", `sig-b23=("date" "@method" "@path" "@query" "@authority" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-rsa-pss"`,
			"bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCoC1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FUo5fTIztsDZKEgM4cUA==",
			public(t, rfcRSAPSS, ""), rfcRequest("EXAMPLE.com:443"),
		},
		{
			"B.2.5", `sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`,
			"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=", secret(t), rfcRequest("example.com"),
		},
		{
			"B.2.6", `sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"`,
			"wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
			public(t, rfcEd25519, ""), rfcRequest("example.com"),
		},
		{
			"B.3", `ttrp=("@path" "@query" "@method" "@authority" "client-cert");created=1618884473;keyid="test-key-ecc-p256"`,
			"xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==",
			public(t, rfcP256, ""), rfcRequest("service.internal.example", "Client-Cert", rfcCert),
		},
		{
			"4.3 of the client", `sig1=("@method" "@authority" "@path" "content-digest" "content-type" "content-length");created=1618884475;keyid="test-key-ecc-p256"`,
			"X5spyd6CFnAG5QnDyHfqoSNICd+BUP4LYMz2Q0JXlb//4Ijpzp+kve2w4NIyqeAuM7jTDX+sNalzA8ESSaHD3A==",
			public(t, rfcP256, ""), rfcRequest("example.com"),
		},
		{
			"4.3 of the proxy", `proxy_sig=("@method" "@authority" "@path" "content-digest" "content-type" "content-length" "forwarded");created=1618884480;keyid="test-key-rsa";alg="rsa-v1_5-sha256";expires=1618884540`,
			"S6ZzPXSdAMOPjN/6KXfXWNO/f7V6cHm7BXYUh3YD/fRad4BCaRZxP+JH+8XY1I6+8Cy+CM5g92iHgxtRPz+MjniOaYmdkDcnL9cCpXJleXsOckpURl49GwiyUpZ10KHgOEe11sx3G2gxI8S0jnxQB+Pu68U9vVcasqOWAEObtNKKZd8tSFu7LB5YAv0RAGhB8tmpv7sFnIm9y+7X5kXQfi8NMaZaA8i2ZHwpBdg7a6CMfwnnrtflzvZdXAsD3LH2TwevU+/PBPv0B6NMNk93wUs/vfJvye+YuI87HU38lZHowtznbLVdp770I6VHR6WfgS9ddzirrswsE1w5o0LV/g==",
			public(t, rfcRSA, RSAV15SHA256), rfcRequest("origin.host.internal.example", "Forwarded", "for=192.0.2.123;host=example.com;proto=https"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.message.Authority = strings.ToLower(c.message.Authority) // as the canonical view has it
			all, err := Parse([]string{c.input}, []string{label(c.input) + "=:" + c.value + ":"})
			if err != nil {
				t.Fatal(err)
			}
			base, err := all[0].Base(c.message)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.key.Verify(base, all[0].Value); err != nil {
				t.Errorf("%v over\n%s", err, base)
			}
			base[len(base)-2] ^= 1
			if err := c.key.Verify(base, all[0].Value); !errors.Is(err, ErrSignature) {
				t.Errorf("a changed base: %v", err)
			}
		})
	}
}

func label(input string) string {
	name, _, _ := strings.Cut(input, "=")
	return name
}

// TestRFC9421Answer is appendix B.2.4, which signs an answer: its base is given as text.
func TestRFC9421Answer(t *testing.T) {
	base := `"@status": 200
"content-type": application/json
"content-digest": ` + rfcAnswer + `
"content-length": 23
"@signature-params": ("@status" "content-type" "content-digest" "content-length");created=1618884473;keyid="test-key-ecc-p256"`
	value, err := base64.StdEncoding.DecodeString("wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==")
	if err != nil {
		t.Fatal(err)
	}
	if err := public(t, rfcP256, "").Verify([]byte(base), value); err != nil {
		t.Error(err)
	}
	all, err := Parse([]string{`sig-b24=("@status" "content-type");created=1618884473`}, []string{"sig-b24=:AAAA:"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].Base(rfcRequest("example.com")); !errors.Is(err, ErrComponent) {
		t.Errorf("a request has a status: %v", err)
	}
}

// TestRFC9421Transformations are appendix B.4: what a signature survives.
func TestRFC9421Transformations(t *testing.T) {
	key := public(t, rfcEd25519, Ed25519)
	all, err := Parse(
		[]string{`transform=("@method" "@path" "@authority" "accept");created=1618884473;keyid="test-key-ed25519"`},
		[]string{"transform=:ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==:"})
	if err != nil {
		t.Fatal(err)
	}
	request := func(method, authority, query string, accept ...string) *Message {
		return &Message{Method: method, Scheme: "https", Authority: authority, Path: "/demo", Query: query, Header: http.Header{"Accept": accept}}
	}
	for _, c := range []struct {
		name    string
		message *Message
		want    error
	}{
		{"as it was", request("GET", "example.org", "name1=Value1&Name2=value2", "application/json", "*/*"), nil},
		{"a query parameter and a header more", request("GET", "example.org", "name1=Value1&Name2=value2&param=added", "application/json, */*"), nil},
		{"no query, lines joined", request("GET", "example.org", "", "application/json, */*"), nil},
		{"white space around lines", request("GET", "example.org", "", " application/json", "*/* "), nil},
		{"another method and host", request("POST", "example.com", "name1=Value1&Name2=value2", "application/json", "*/*"), ErrSignature},
		{"the lines in another order", request("GET", "example.org", "name1=Value1&Name2=value2", "*/*", "application/json"), ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, err := all[0].Base(c.message)
			if err != nil {
				t.Fatal(err)
			}
			if err := key.Verify(base, all[0].Value); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v, over\n%s", err, c.want, base)
			}
		})
	}
}

// TestRFC9530Digest is the body of the test-request.
func TestRFC9530Digest(t *testing.T) {
	body := []byte(`{"hello": "world"}`)
	for _, c := range []struct {
		name, field string
		want        error
	}{
		{"sha-512", rfcDigest, nil},
		{"sha-256", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", nil},
		{"both", rfcDigest + ", sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", nil},
		{"one of them wrong", rfcDigest + ", sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPA=:", ErrDigest},
		{"one that nobody relies on beside", "md5=:AAAA:, sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", nil},
		{"only one that nobody relies on", "md5=:Sd/dVLAcvNLSq16eXua5uQ==:", ErrDigest},
		{"of another body", rfcAnswer, ErrDigest},
		{"twice", "sha-512=:AAAA:, " + rfcDigest, ErrDigest},
		{"no bytes", `sha-256="X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="`, ErrDigest},
		{"short", "sha-256=:X48E:", ErrDigest},
		{"empty", "", ErrDigest},
		{"no dictionary", ";;", ErrDigest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := VerifyDigest([]string{c.field}, body); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if err := VerifyDigest(nil, body); !errors.Is(err, ErrDigest) {
		t.Errorf("no field: %v", err)
	}
}
