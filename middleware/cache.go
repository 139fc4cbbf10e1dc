package middleware

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/httpcache"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
)

func init() { kind.Add(Kinds, "cache", defaultCache, newCache) }

// cache is the running middleware. It never changes after newCache.
type cache struct {
	*keptCache
	config CacheConfig
	policy httpcache.Policy
	tags   string          // canonical; "" reads none
	inKey  []string        // canonical headers
	query  map[string]bool // nil: all parameters
	env    Env
}

// keptCache is what outlives a reload.
type keptCache struct {
	shown     shown
	store     *httpcache.Store
	ctx       context.Context // of what is fetched again in the background
	end       context.CancelFunc
	refreshes atomic.Int64
}

// Close ends what is under way for the cache alone.
func (k *keptCache) Close() error {
	k.end()
	return k.shown.Close()
}

func newCache(c CacheConfig, env Env) (gateway.Step, error) {
	if env.To == nil {
		return gateway.Step{}, kind.At("", "cache needs a route with an upstream (`to:`)")
	}
	registry, err := keep.Get(env.Keep, httpcache.Kept, func() (*httpcache.Registry, error) { return httpcache.NewRegistry(), nil })
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	kept, err := keep.Get(env.Keep, "cache/"+env.Key, func() (*keptCache, error) {
		k := &keptCache{store: httpcache.NewStore(int64(c.MaxBytes))}
		k.ctx, k.end = context.WithCancel(context.Background())
		return k, nil
	})
	if err != nil {
		return gateway.Step{}, kind.At("", "%w", err)
	}
	m := &cache{keptCache: kept, config: c, policy: c.policy(), inKey: canonicalNames(c.Key.Headers), env: env}
	if c.TagHeader != "" {
		m.tags = http.CanonicalHeaderKey(c.TagHeader)
	}
	if len(c.Key.Query) > 0 {
		m.query = make(map[string]bool)
		for _, name := range c.Key.Query {
			m.query[name] = true
		}
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain, Start: func() []<-chan struct{} {
		kept.store.Resize(int64(c.MaxBytes))
		kept.shown.show(func() func() {
			name := blockName("cache", env.Key)
			leave := registry.Add(name, kept.store)
			forget := env.Process.WatchCache(name, func() obs.CacheState { return cacheState(kept.store) })
			return func() { leave(); forget() }
		})
		return nil
	}}, nil
}

func cacheState(s *httpcache.Store) obs.CacheState {
	i := s.Info()
	return obs.CacheState{Requests: i.Results, Bytes: i.Bytes, Answers: i.Answers, Evicted: i.Evicted}
}

func (m *cache) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			m.unsafe(w, r, x, next)
		case cacheUnfit(r):
			m.store.Count([]byte(r.URL.Path), httpcache.Bypass)
			m.pass(w, r, next, "bypass")
		default:
			m.serve(w, r, x, next)
		}
	})
}

// cacheUnfit says that the answer to r is neither stored nor found here: a body or a
// precondition could change what it says, and streams have no end.
func cacheUnfit(r *http.Request) bool {
	h := r.Header
	return r.ContentLength != 0 || gateway.IsStream(r) || len(h["If-Match"]) > 0 || len(h["If-Unmodified-Since"]) > 0
}

// serve gives what is there, if it will do.
func (m *cache) serve(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, next http.Handler) {
	asks := m.asks(r.Header)
	r = m.narrow(r)
	var keyRoom, contextRoom [512]byte
	key := appendCacheKey(keyRoom[:0], x, r)
	c := m.context(contextRoom[:0], x, r)
	now := time.Now()
	found := m.store.Get(key, &c, func(name string) []string { return x.UpstreamHeader(r.Header, name) })
	if a := found.Answer; a != nil && !asks.NoStore {
		switch a.Use(&asks, now) {
		case httpcache.UseFresh:
			m.store.Count(key, httpcache.Hit)
			m.answer(w, r, a, now, nil)
			return
		case httpcache.UseStale:
			m.store.Count(key, httpcache.Stale)
			m.answer(w, r, a, now, nil)
			return
		case httpcache.UseRefresh:
			m.store.Count(key, httpcache.Stale)
			m.refresh(r, x, next, m.ask(key, &c, x, r, asks, found))
			m.answer(w, r, a, now, nil)
			return
		case httpcache.UseFetch: // as without it
		}
	}
	switch {
	case asks.OnlyIfCached:
		m.store.Count(key, httpcache.Miss)
		gateway.Fail(w, r, &gateway.Error{
			Status: http.StatusGatewayTimeout, Reason: "not_cached", Msg: "the answer is not in the cache", Cause: gateway.CauseClient,
		})
	case !asks.NoStore && r.Method != http.MethodHead && len(r.Header["Range"]) == 0 && r.ProtoAtLeast(1, 1):
		m.miss(w, r, next, m.ask(key, &c, x, r, asks, found))
	case !asks.NoStore && found.Answer != nil: // it may have to stand in for an error
		m.forward(&cacheWriter{under: w, r: r, ask: m.ask(key, &c, x, r, asks, found), bypass: true}, next)
	default:
		m.store.Count(key, httpcache.Bypass)
		m.pass(w, r, next, "request")
	}
}

// asks is what the client wants of caches. no-store is not ours to overrule.
func (m *cache) asks(h http.Header) httpcache.Directives {
	d := httpcache.ParseControl(h)
	if !m.config.ClientControl {
		noStore := d.NoStore
		d = httpcache.ParseControl(nil)
		d.NoStore = noStore
	}
	return d
}

// pass has the request carried out as if there were no cache.
func (m *cache) pass(w http.ResponseWriter, r *http.Request, next http.Handler, why string) {
	hw := &headWriter{ResponseWriter: w, edit: func(h http.Header) { m.edit(h, "pithead; fwd="+why) }}
	next.ServeHTTP(hw, r)
	hw.finish()
}

// edit is what the cache changes of every answer that it hands on.
func (m *cache) edit(h http.Header, status string) {
	if m.tags != "" {
		delete(h, m.tags)
	}
	if m.config.CacheStatus {
		h["Cache-Status"] = append(slices.Clip(h["Cache-Status"]), status)
	}
}

// unsafe carries a change out, and forgets what it makes wrong (RFC 9111 section 4.4).
func (m *cache) unsafe(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, next http.Handler) {
	if r.Method == http.MethodOptions || r.Method == http.MethodTrace || gateway.IsStream(r) {
		m.pass(w, r, next, "method")
		return
	}
	done := &statusWriter{ResponseWriter: w}
	defer func() { // an answer that breaks off may have done its work
		if done.status < http.StatusBadRequest {
			m.store.Purge(httpcache.Purge{URL: string(appendCacheKey(nil, x, m.narrow(r)))})
		}
	}()
	m.pass(done, r, next, "method")
}

// statusWriter remembers the status of an answer; 0 is that of one without a word.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// BodyWriter is for splice.SinkOf: nothing but heads is changed here.
func (w *statusWriter) BodyWriter() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	if w.status < http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (m *cache) explain(r *http.Request, x *gateway.Exchange) string {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "passes; what is stored of the URL is forgotten when it succeeds"
	case cacheUnfit(r):
		return "passes: answers to such a request are not stored"
	}
	asks, now := m.asks(r.Header), time.Now()
	r = m.narrow(r)
	c := m.context(nil, x, r)
	found := m.store.Get(appendCacheKey(nil, x, r), &c, func(name string) []string { return x.UpstreamHeader(r.Header, name) })
	a := found.Answer
	if a == nil || asks.NoStore {
		return "passes: nothing is stored for it"
	}
	age := a.Age(now).Truncate(time.Second)
	use := a.Use(&asks, now)
	if use == httpcache.UseFetch {
		return fmt.Sprintf("passes: what is stored is %s old and has to be confirmed", age)
	}
	x.Status = a.Status
	return fmt.Sprintf("is answered %d from the cache %s; %s old, fresh for %s", cmp.Or(a.Status, 200), blockName("cache", m.env.Key), age, a.Left(now).Truncate(time.Second))
}
