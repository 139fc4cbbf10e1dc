package middleware

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Whether a key is known must not show in how long the answer takes. What is
// counted is the work, because a time would say more of the machine.
func TestAPIKeyCost(t *testing.T) {
	keys := []APIKey{
		{ID: "a", SHA256: sha256.Sum256([]byte("open"))},
		{ID: "late", SHA256: sha256.Sum256([]byte("late")), NotAfter: APIKeyEnd{time.Unix(0, 0)}},
	}
	table, err := newAPIKeyTable(keys, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	digests, comparisons := 0, 0
	table.digest = func(key string) [sha256.Size]byte { digests++; return digestOfKey(key) }
	table.same = func(a, b [sha256.Size]byte) bool { comparisons++; return sameDigest(a, b) }
	m := &apiKey{in: []apiKeyPlace{{header: "X-Api-Key"}}, table: table}
	long := strings.Repeat("x", maxAPIKey)
	t.Run("K18", func(t *testing.T) {
		for key, want := range map[string]string{
			"open": "", "late": "api_key_expired", "opem": "bad_api_key", "": "bad_api_key", long: "bad_api_key", long + "x": "bad_api_key",
		} {
			digests, comparisons = 0, 0
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("X-Api-Key", key)
			_, refused := m.prove(r)
			reason := ""
			if refused != nil {
				reason = refused.Reason
			}
			if reason != want || digests != 1 || comparisons != 1 {
				t.Errorf("%.10q: %q after %d digests and %d comparisons, want %q after one each", key, reason, digests, comparisons, want)
			}
		}
	})
	t.Run("the whole digest is compared", func(t *testing.T) {
		table.digest = func(string) [sha256.Size]byte {
			d := [sha256.Size]byte(keys[0].SHA256)
			d[sha256.Size-1] ^= 1
			return d
		}
		if _, ok := table.find("x"); ok {
			t.Error("a digest with the same beginning is taken for the key's")
		}
	})
	t.Run("the digest of nobody proves nothing", func(t *testing.T) {
		table.digest = func(string) (zero [sha256.Size]byte) { return zero }
		if _, ok := table.find("x"); ok {
			t.Error("somebody is nobody")
		}
	})
	t.Run("what is too long is not cut", func(t *testing.T) {
		table, err := newAPIKeyTable([]APIKey{{ID: "long", SHA256: sha256.Sum256([]byte(long))}}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := table.find(long); !ok {
			t.Error("the longest key is refused")
		}
		if _, ok := table.find(long + "x"); ok {
			t.Error("a key that begins like another is taken for it")
		}
	})
}

func BenchmarkAPIKey(b *testing.B) {
	table, err := newAPIKeyTable([]APIKey{{ID: "a", SHA256: sha256.Sum256([]byte(strings.Repeat("k", 64)))}}, "", nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, key := range map[string]string{"known": strings.Repeat("k", 64), "unknown": strings.Repeat("u", 64)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.find(key)
			}
		})
	}
}
