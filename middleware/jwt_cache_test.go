package middleware

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

// oneKey is a set of one key, which differs by its name.
func oneKey(t testing.TB, kid string) *jwks.Set {
	t.Helper()
	var seed [ed25519.SeedSize]byte
	copy(seed[:], kid)
	x := base64.RawURLEncoding.EncodeToString(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
	s, err := jwks.ParseSet(fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, kid, x))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func forEver(subject string) jwtIdentity {
	return jwtIdentity{subject: subject, validity: validity{0, math.MaxFloat64}}
}

// remembered counts what is in a cache.
func remembered(c *jwtCache) (tokens int, bytes int64) {
	for i := range c.slots {
		if v := c.slots[i].Load(); v != nil {
			tokens, bytes = tokens+1, bytes+v.size()
		}
	}
	return tokens, bytes
}

func TestJWTCache(t *testing.T) {
	set := oneKey(t, "a")
	keys, now := jwks.Fixed(set), time.Now()
	c := newJWTCache(100)
	want := func(token, subject string, at time.Time) {
		t.Helper()
		got := ""
		if v := c.get(token, at); v != nil {
			got = v.subject
		}
		if got != subject {
			t.Errorf("%q is remembered as %q, want %q", token, got, subject)
		}
	}
	c.put("good", keys, set, forEver("ada"), now)
	c.put("short", keys, set, jwtIdentity{subject: "bob", validity: validity{unix(now), unix(now) + 10}}, now)
	want("good", "ada", now)
	want("goot", "", now)
	want("", "", now)
	want("short", "bob", now.Add(9*time.Second))
	want("short", "", now.Add(11*time.Second))
	want("short", "", now.Add(-time.Second))
	c.put("good", keys, set, forEver("eve"), now) // the same token again takes the same slot
	if tokens, bytes := remembered(c); tokens != 2 || bytes != c.bytes.Load() || bytes < 2*entryBytes {
		t.Errorf("%d tokens of %d bytes, %d are counted", tokens, bytes, c.bytes.Load())
	}
	t.Run("J35: other keys", func(t *testing.T) {
		c.put("rotated", keys, oneKey(t, "b"), forEver("ada"), now)
		want("rotated", "", now)
	})
	t.Run("I23: the same place is not the same token", func(t *testing.T) {
		v := c.get("good", now)
		for i := range c.group(v.hash) {
			if other := c.group(v.hash)[i].Load(); other == v {
				forged := *v
				forged.token = "goot"
				forged.hash = v.hash
				c.group(v.hash)[i].Store(&forged)
			}
		}
		want("good", "", now)
	})
}

// However many tokens there are, and however large, memory has its bounds.
func TestJWTCacheIsBounded(t *testing.T) {
	set := oneKey(t, "a")
	keys, now := jwks.Fixed(set), time.Now()
	c := newJWTCache(10_000)
	if len(c.slots) != 10_000 {
		t.Errorf("%d slots, want 10000", len(c.slots))
	}
	large := strings.Repeat("x", 8<<10)
	for i := range 20_000 {
		c.put(fmt.Sprint(large[:i%(8<<10)], i), keys, set, forEver("ada"), now)
		if n := c.bytes.Load(); n > maxCacheBytes {
			t.Fatalf("%d bytes after %d tokens", n, i)
		}
	}
	if _, bytes := remembered(c); c.bytes.Load() != bytes || bytes < maxCacheBytes/2 {
		t.Errorf("%d bytes are counted and %d are there", c.bytes.Load(), bytes)
	}
	none := newJWTCache(0)
	none.put("good", keys, set, forEver("ada"), now)
	if none.get("good", now) != nil {
		t.Error("a cache of no tokens has one")
	}
}

func TestJWTCacheConcurrent(t *testing.T) {
	set := oneKey(t, "a")
	keys, now := jwks.Fixed(set), time.Now()
	c := newJWTCache(64)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				token := fmt.Sprint((i*7 + n) % 200)
				if v := c.get(token, now); v != nil && v.subject != token {
					t.Errorf("%q is remembered as %q", token, v.subject)
				}
				c.put(token, keys, set, forEver(token), now)
			}
		})
	}
	wg.Wait()
	if _, bytes := remembered(c); c.bytes.Load() != bytes {
		t.Errorf("%d bytes are counted and %d are there", c.bytes.Load(), bytes)
	}
}
