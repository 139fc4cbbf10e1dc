package admin

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// shelf is a cache as the admin API sees it.
type shelf struct {
	all   []CacheInfo
	asked []CachePurge
	by    string
}

func newShelf() *shelf {
	return &shelf{all: []CacheInfo{{Name: "route/shop", URLs: 1, Answers: 2, Bytes: 3, MaxBytes: 4, Requests: map[string]uint64{"hit": 5}}}}
}

func (s *shelf) purge(name string, what CachePurge, by string) (int, error) {
	if name != "route/shop" {
		return 0, ErrNoCache
	}
	s.asked, s.by = append(s.asked, what), by
	return 2, nil
}

func (s *shelf) options() Options {
	o := new(daemon).options()
	o.Caches, o.PurgeCache = func() []CacheInfo { return s.all }, s.purge
	return o
}

func TestCaches(t *testing.T) {
	s := newShelf()
	h := handler(t, s.options())
	if got := ask(h, "GET", "/-/cache", "").Body.String(); !strings.Contains(got, `"name": "route/shop"`) || !strings.Contains(got, `"hit": 5`) {
		t.Error(got)
	}
	for _, c := range []struct {
		name, path, body string
		status           int
		says             string
	}{
		{"all", "/-/cache/route/shop/purge", `{"all": true}`, 200, `"forgotten": 2`},
		{"encoded", "/-/cache/route%2Fshop/purge", `{"tag": "red"}`, 200, `"name": "route/shop"`},
		{"two at once", "/-/cache/route/shop/purge", `{"tag": "red", "all": true}`, 400, "one of"},
		{"nothing", "/-/cache/route/shop/purge", `{}`, 400, "one of"},
		{"no body", "/-/cache/route/shop/purge", ``, 400, "one of"},
		{"another field", "/-/cache/route/shop/purge", `{"urls": "x"}`, 400, "urls"},
		{"unknown", "/-/cache/shop/purge", `{"all": true}`, 404, ErrNoCache.Error()},
		{"no name", "/-/cache/purge", `{"all": true}`, 404, ""},
		{"another verb", "/-/cache/route/shop/fill", `{"all": true}`, 404, ""},
		{"a list takes no POST", "/-/cache", `{"all": true}`, 405, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(s.asked)
			got := ask(h, "POST", c.path, c.body, asJSON)
			if got.Code != c.status || !strings.Contains(got.Body.String(), c.says) {
				t.Errorf("%d %s, want %d with %q", got.Code, got.Body, c.status, c.says)
			}
			if purged := len(s.asked) > before; purged != (c.status == 200) {
				t.Errorf("purged: %t", purged)
			}
		})
	}
}

// TestPurgeNeedsTheToken: emptying a cache sends everybody to the service.
func TestPurgeNeedsTheToken(t *testing.T) {
	s := newShelf()
	o := s.options()
	o.Address, o.Token, o.Hosts = "10.0.0.1:9901", "a-token-of-some-length", []string{"gateway.example"}
	h := handler(t, o)
	path, body := "/-/cache/route/shop/purge", `{"all": true}`
	if got := ask(h, "POST", path, body, asJSON, "Host: gateway.example"); got.Code != 401 || len(s.asked) != 0 {
		t.Errorf("without a token: %d, asked %v", got.Code, s.asked)
	}
	if got := ask(h, "POST", path, body, asJSON, "Host: gateway.example", "Authorization: Bearer a-token-of-some-length"); got.Code != 200 {
		t.Errorf("with the token: %d %s", got.Code, got.Body)
	}
}

func TestClientPurges(t *testing.T) {
	s := newShelf()
	server := httptest.NewServer(handler(t, s.options()))
	t.Cleanup(server.Close)
	c, err := Dial(server.Listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	all, err := c.Caches(t.Context())
	if diff := cmp.Diff(s.all, all); err != nil || diff != "" {
		t.Error(err, diff)
	}
	want := CachePurge{URL: "https://shop.example/a?b=c"}
	purged, err := c.PurgeCache(t.Context(), "route/shop", want)
	if err != nil || purged != (CachePurged{"route/shop", 2}) {
		t.Error(err, purged)
	}
	if diff := cmp.Diff([]CachePurge{want}, s.asked); diff != "" || !strings.HasPrefix(s.by, "127.0.0.1:") {
		t.Error(diff, s.by)
	}
	if _, err := c.PurgeCache(t.Context(), "route/a b", want); err == nil || err.Error() != ErrNoCache.Error() {
		t.Error(err)
	}
}
