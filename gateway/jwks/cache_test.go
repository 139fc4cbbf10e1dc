package jwks_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway/jwks"
)

// edSet is a document of Ed25519 keys, which differ by their names.
func edSet(kids ...string) string {
	var keys []string
	for _, kid := range kids {
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, base64.RawURLEncoding.EncodeToString(seedOf(kid).Public().(ed25519.PublicKey))))
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

func seedOf(kid string) ed25519.PrivateKey {
	var seed [ed25519.SeedSize]byte
	copy(seed[:], kid)
	return ed25519.NewKeyFromSeed(seed[:])
}

// edToken is a token that the key under kid has signed.
func edToken(kid string) string {
	if known, ok := edTokens.Load(kid); ok {
		return known.(string)
	}
	text := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"EdDSA","kid":%q}`, kid)) + ".e30"
	token := text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(seedOf(kid), []byte(text)))
	edTokens.Store(kid, token)
	return token
}

// edTokens are those that have been made, since signing takes its time.
var edTokens sync.Map

// provider is an issuer in memory.
type provider struct {
	mu       sync.Mutex
	document string
	maxAge   time.Duration
	err      error
	slow     time.Duration
	calls    []time.Time
}

func (p *provider) load(ctx context.Context, _ bool) (jwks.Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, time.Now())
	if p.slow > 0 {
		select {
		case <-time.After(p.slow):
		case <-ctx.Done():
			return jwks.Answer{}, ctx.Err()
		}
	}
	return jwks.Answer{Document: p.document, MaxAge: p.maxAge}, p.err
}

func (p *provider) set(change func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *provider) count() int { return len(p.gaps()) + 1 }

// gaps are the times between two calls.
func (p *provider) gaps() (all []time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.calls[1:] {
		all = append(all, p.calls[i+1].Sub(p.calls[i]))
	}
	return all
}

// cached runs a test with a cache of p in a bubble.
func cached(t *testing.T, p *provider, test func(t *testing.T, c *jwks.Cache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := jwks.NewCache(jwks.Options{Load: p.load})
		defer func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}()
		c.Start()
		synctest.Wait()
		test(t, c)
	})
}

// ask shows a token, as a request would.
func ask(t *testing.T, c *jwks.Cache, kid string) error {
	t.Helper()
	begin := time.Now()
	defer func() {
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("the request waited %s", waited)
		}
	}()
	set, err := c.Set(time.Now())
	if err != nil {
		return err
	}
	token, err := jwks.ParseToken(edToken(kid))
	if err != nil {
		return err
	}
	if err = set.Verify(token); errors.Is(err, jwks.ErrUnknownKey) {
		c.Want()
	}
	return err
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCacheRefreshes(t *testing.T) {
	f := func(name string, maxAge, least, most time.Duration) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			p := &provider{document: edSet("a"), maxAge: maxAge}
			cached(t, p, func(t *testing.T, c *jwks.Cache) {
				wantErr(t, ask(t, c, "a"), nil)
				pass(time.Hour)
				gaps := p.gaps()
				for _, d := range gaps {
					if d < least || d > most {
						t.Errorf("%s between two refreshes, want %s to %s", d, least, most)
					}
				}
				if len(gaps) < 5 {
					t.Errorf("%d refreshes", len(gaps))
				}
			})
		})
	}
	f("every 5 min, more or less", 0, 4*time.Minute+30*time.Second, 5*time.Minute+30*time.Second)
	f("sooner if the server says so", 2*time.Minute, 108*time.Second, 132*time.Second)
	f("not all the time", time.Second, 54*time.Second, 66*time.Second)
	f("not later", 24*time.Hour, 4*time.Minute+30*time.Second, 5*time.Minute+30*time.Second)
}

func TestCacheKeepsTheLastGoodSet(t *testing.T) {
	f := func(name, document string) {
		t.Helper()
		t.Run("K03: "+name, func(t *testing.T) {
			p := &provider{document: edSet("a")}
			cached(t, p, func(t *testing.T, c *jwks.Cache) {
				p.set(func(p *provider) { p.document = document })
				pass(time.Hour)
				wantErr(t, ask(t, c, "a"), nil)
				if s := c.State(); s.Failures < 10 || s.Keys != 1 || time.Since(s.Confirmed) < 50*time.Minute {
					t.Errorf("state %+v", s)
				}
				p.set(func(p *provider) { p.document = edSet("b") })
				pass(time.Minute)
				wantErr(t, ask(t, c, "b"), nil)
				wantErr(t, ask(t, c, "a"), jwks.ErrUnknownKey)
			})
		})
	}
	f("HTML", "<html>down for maintenance</html>")
	f("{}", "{}")
	f("empty", `{"keys":[]}`)
	f("nothing", "")
	f("only keys for encryption", `{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"AA"}]}`)
}

func TestCacheStale(t *testing.T) {
	t.Run("K06: away for an hour, and for longer than a day", func(t *testing.T) {
		p := &provider{document: edSet("a")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			p.set(func(p *provider) { p.err = errors.New("gone") })
			for range 60 {
				pass(time.Minute)
				wantErr(t, ask(t, c, "a"), nil)
			}
			pass(22 * time.Hour)
			wantErr(t, ask(t, c, "a"), nil)
			pass(2 * time.Hour)
			wantErr(t, ask(t, c, "a"), jwks.ErrNoKeys)
			p.set(func(p *provider) { p.err = nil })
			pass(time.Minute)
			wantErr(t, ask(t, c, "a"), nil)
		})
	})
}

func TestCacheStartsWithoutTheIssuer(t *testing.T) {
	t.Run("K05: retries, with jitter", func(t *testing.T) {
		p := &provider{document: edSet("a"), err: errors.New("refused")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			wantErr(t, ask(t, c, "a"), jwks.ErrNoKeys)
			pass(10 * time.Minute)
			if n := p.count(); n < 20 || n > 30 {
				t.Errorf("%d attempts in 10 minutes", n)
			}
			select {
			case <-c.Ready():
				t.Error("ready without keys")
			default:
			}
			p.set(func(p *provider) { p.err = nil })
			pass(34 * time.Second)
			wantErr(t, ask(t, c, "a"), nil)
			<-c.Ready()
		})
	})
	t.Run("K02: never answers", func(t *testing.T) {
		p := &provider{document: edSet("a"), slow: time.Hour}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			pass(5*time.Second + time.Millisecond)
			if s := c.State(); s.Failures != 1 {
				t.Errorf("state %+v after 5 s", s)
			}
		})
	})
}

func TestCacheUnknownKeys(t *testing.T) {
	t.Run("K04: a flood of unknown keys", func(t *testing.T) {
		p := &provider{document: edSet("a")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			for i := range 36_000 {
				wantErr(t, ask(t, c, fmt.Sprint("junk", i%500)), jwks.ErrUnknownKey)
				if i%100 == 0 {
					wantErr(t, ask(t, c, "a"), nil)
				}
				pass(100 * time.Millisecond)
			}
			// An hour: one at the start, one at once for the first token, one a minute.
			if n := p.count(); n > 62 || n < 55 {
				t.Errorf("%d requests to the issuer", n)
			}
			for _, d := range p.gaps()[1:] {
				if d < time.Minute {
					t.Errorf("only %s between two requests", d)
				}
			}
		})
	})
	t.Run("J35: a new key works at once", func(t *testing.T) {
		p := &provider{document: edSet("a")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			pass(time.Minute)
			p.set(func(p *provider) { p.document = edSet("b") })
			wantErr(t, ask(t, c, "b"), jwks.ErrUnknownKey)
			synctest.Wait()
			wantErr(t, ask(t, c, "b"), nil)
			wantErr(t, ask(t, c, "a"), jwks.ErrUnknownKey)
			// The next one, right after it, waits for its minute.
			p.set(func(p *provider) { p.document = edSet("c") })
			pass(time.Second)
			wantErr(t, ask(t, c, "c"), jwks.ErrUnknownKey)
			pass(time.Minute)
			wantErr(t, ask(t, c, "c"), nil)
		})
	})
	t.Run("J35: a key that is withdrawn", func(t *testing.T) {
		p := &provider{document: edSet("a", "b")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			before, _ := c.Set(time.Now())
			p.set(func(p *provider) { p.document = edSet("b") })
			pass(6 * time.Minute)
			wantErr(t, ask(t, c, "a"), jwks.ErrUnknownKey)
			if after, _ := c.Set(time.Now()); after == before {
				t.Error("the set is the old one")
			}
		})
	})
	t.Run("K04: not while the issuer fails", func(t *testing.T) {
		p := &provider{document: edSet("a")}
		cached(t, p, func(t *testing.T, c *jwks.Cache) {
			p.set(func(p *provider) { p.err = errors.New("gone") })
			for range 6000 {
				wantErr(t, ask(t, c, "junk"), jwks.ErrUnknownKey)
				pass(100 * time.Millisecond)
			}
			if n := p.count(); n > 30 {
				t.Errorf("%d requests to the issuer in 10 minutes", n)
			}
		})
	})
}

func TestCacheSetStaysTheSame(t *testing.T) {
	p := &provider{document: edSet("a")}
	cached(t, p, func(t *testing.T, c *jwks.Cache) {
		before, _ := c.Set(time.Now())
		pass(time.Hour)
		if after, _ := c.Set(time.Now()); after != before {
			t.Error("another set for the same document")
		}
		if s := c.State(); time.Since(s.Confirmed) > 6*time.Minute {
			t.Errorf("confirmed %s ago", time.Since(s.Confirmed))
		}
	})
}
