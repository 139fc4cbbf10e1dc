package balance

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/balance/balancetest"
)

func keyOf(t *testing.T, text string) (k HashKey) {
	t.Helper()
	if err := k.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return k
}

func TestHashKeyText(t *testing.T) {
	for text, want := range map[string]string{
		"subject": "subject", "client": "client", "header:x-user": "header:X-User", "cookie:sid": "cookie:sid", "query:user.id": "query:user.id",
	} {
		if got := keyOf(t, text).String(); got != want {
			t.Errorf("%q reads as %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"":               "write subject, client, header:NAME",
		"ip":             "write subject, client, header:NAME",
		"header":         "names no header; write for example header:user",
		"header:":        "names no header",
		"cookie:a b":     "names no cookie",
		"query:a=b":      "names no query",
		"subject:x-user": "takes no name; write subject",
		"client:":        "takes no name; write client",
	} {
		var k HashKey
		if err := k.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want %q", text, err, want)
		}
	}
}

func TestHashKeyOfARequest(t *testing.T) {
	request := func(query string, header ...string) *gateway.Exchange {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Add(header[i], header[i+1])
		}
		return &gateway.Exchange{Request: &http.Request{URL: &url.URL{RawQuery: query}, Header: h}}
	}
	client := func(addr string) *gateway.Exchange { return &gateway.Exchange{Client: netip.MustParseAddr(addr)} }
	const none = ""
	for _, tt := range []struct {
		name, key string
		x         *gateway.Exchange
		want      string
	}{
		{"no exchange", "client", nil, none},
		{"no request", "header:x-user", &gateway.Exchange{}, none},
		{"subject", "subject", &gateway.Exchange{Subject: "ann"}, "ann"},
		{"nobody", "subject", request("", "X-User", "ann"), none},
		{"header", "header:x-user", request("", "X-User", "ann"), "ann"},
		{"empty header", "header:x-user", request("", "X-User", ""), none},
		{"header twice", "header:x-user", request("", "X-User", "ann", "X-User", "bob"), none},
		{"cookie", "cookie:sid", request("", "Cookie", "a=b; sid=7; c=d"), "7"},
		{"cookie in a second line", "cookie:sid", request("", "Cookie", "a=b", "Cookie", "sid=7"), "7"},
		{"cookie with a longer name", "cookie:sid", request("", "Cookie", "xsid=7; sidx=8"), none},
		{"cookie twice", "cookie:sid", request("", "Cookie", "sid=7; sid=8"), none},
		{"query", "query:id", request("a=b&id=7&c"), "7"},
		{"query escaped", "query:id", request("id=a%20b"), "a b"},
		{"query with an escaped name", "query:id", request("%69d=7"), "7"},
		{"query with a broken escape", "query:id", request("id=%zz"), "%zz"},
		{"query twice", "query:id", request("id=7&id=7"), none},
		{"query without a value", "query:id", request("id"), none},
		{"IPv4", "client", client("1.2.3.4"), "\x01\x02\x03\x04"},
		{"IPv6 by its /64", "client", client("102:304:506:708:90a:b0c:d0e:f10"), "\x01\x02\x03\x04\x05\x06\x07\x08"},
		{"no client", "client", &gateway.Exchange{}, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sum, ok := keyOf(t, tt.key).sum(testKey, tt.x)
			if ok != (tt.want != none) || ok && sum != testKey.Sum(tt.want) {
				t.Errorf("got %x, %t; want the sum of %q", sum, ok, tt.want)
			}
		})
	}
}

func TestHashKeyAllocatesNothing(t *testing.T) {
	x := balancetest.Exchange(7)
	x.Subject = strings.Repeat("long ", 20)
	for _, text := range []string{"subject", "client", "header:x-user", "cookie:sid", "query:id"} {
		policy := policyOf(t, "consistent_hash", func(into any) { into.(*ConsistentHashConfig).Key = keyOf(t, text) })
		p := policy(balancetest.Endpoints(1, 1, 1))
		if n := testing.AllocsPerRun(1000, func() { p.Pick(x) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", text, n)
		}
	}
}
