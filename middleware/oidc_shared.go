package middleware

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/sealed"
	"github.com/pithead/pithead/gateway/store"
)

// OIDCStore is where several gateways tell each other of logouts, and of logins that are completed. A session or a
// person is there under a name that is made with the keys of `cookie`. Gateways find each other by issuer, client and the name of
// the block, or the route and the place in `use` of one without.
type OIDCStore struct {
	// Redis has what they tell. Required.
	Redis *RedisConfig `yaml:"redis,required"`
	// MaxStale is how long sessions are trusted after it was last known that there is no other logout, 1s to 24h,
	// while `on_store_error` is `closed`. It is found out every 250 ms. Default: 1m.
	MaxStale time.Duration `yaml:"max_stale"`
}

// SetDefaults is called before decoding.
func (c *OIDCStore) SetDefaults() { c.MaxStale = time.Minute }

// Validate checks the numbers.
func (c OIDCStore) Validate() error {
	if c.MaxStale < time.Second || c.MaxStale > 24*time.Hour {
		return kind.At("max_stale", "must be from 1s to 24h")
	}
	return nil
}

// Files implements kind.Filer.
func (c OIDCConfig) Files() []string {
	if c.Store == nil {
		return nil
	}
	return c.Store.Redis.files()
}

// ending is when a logout has ended sessions, and how long the longest of them would have lasted.
type ending struct{ at, until time.Time }

// endedBy is a name under which a logout can have ended a session, if that had begun no more than
// late after it.
type endedBy struct {
	name string
	late time.Duration
}

// endings are those of a session. Its own id is that of one login, and so is the sid of most providers,
// whatever the clocks of two gateways say; of a person, later logins are good.
func (m *oidcAuth) endings(id, sid, sub string) (all []endedBy) {
	add := func(text string, late time.Duration) {
		for _, name := range m.sessions.Names(text) {
			all = append(all, endedBy{name, late})
		}
	}
	add("id "+id, maxSessionLife)
	if sid != "" {
		add("sid "+sid, idTokenLeeway)
	}
	add("sub "+sub, 0)
	return all
}

// endedSessions are those that logouts have ended, here and, with a store, at other gateways.
type endedSessions struct {
	names *sealed.Memory[ending]
	mu    sync.Mutex     // orders changes
	count *atomic.Uint64 // of what others have told
}

func newEndedSessions(count *atomic.Uint64) *endedSessions {
	return &endedSessions{names: sealed.NewMemory[ending](maxEnded), count: count}
}

// have says whether a session is among them.
func (e *endedSessions) have(s *knownSession, now time.Time) bool {
	if e.names.Len() == 0 {
		return false
	}
	for _, by := range s.over {
		if end, ok := e.names.Get(by.name, now); ok && !s.session.login.After(end.at.Add(by.late)) {
			return true
		}
	}
	return false
}

// add says whether this ends more sessions than is known.
func (e *endedSessions) add(name string, end ending, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known, ok := e.names.Get(name, now); ok && !end.at.After(known.at) || !now.Before(end.until) {
		return false
	}
	e.names.Put(name, end, now, end.until)
	return true
}

// Learn implements store.Memory.
func (e *endedSessions) Learn(one store.Entry) {
	if e.add(one.Name, ending{one.At, one.Until}, time.Now()) {
		e.count.Add(1)
	}
}

// Entries implements store.Memory.
func (e *endedSessions) Entries() (all []store.Entry) {
	for name, end := range e.names.All(time.Now()) {
		all = append(all, store.Entry{Name: name, At: end.at, Until: end.until})
	}
	return all
}

// sharedLogins are what a gateway has in common with others. nil is nothing.
type sharedLogins struct {
	redis   *store.Redis
	journal *store.Journal
	meaning string
}

// shared finds what blocks with the same store and meaning share, and reloads leave alone.
func (c OIDCConfig) shared(meaning string, ended *endedSessions, env Env) (*sharedLogins, error) {
	if c.Store == nil {
		return nil, nil
	}
	name, redis, err := c.Store.Redis.connection(env)
	if err != nil {
		return nil, err
	}
	journal, err := keep.Get(env.Keep, "oidc logouts/"+digestOf(name, meaning), func() (*store.Journal, error) {
		return store.NewJournal(redis, "oidc logouts "+meaning, maxEnded, ended), nil
	})
	if err != nil {
		return nil, kind.At("store", "%w", err)
	}
	return &sharedLogins{redis, journal, meaning}, nil
}

// start is called when the snapshot is about to serve.
func (s *sharedLogins) start() []<-chan struct{} {
	if s == nil {
		return nil
	}
	return []<-chan struct{}{s.journal.Start()}
}

// informed says whether the gateway knows of logouts, or goes on without.
func (m *oidcAuth) informed() bool {
	if m.told == nil || m.OnStoreError != onErrorClosed {
		return true
	}
	ago, ever := m.told.journal.Heard()
	return ever && ago <= m.Store.MaxStale
}

// lacking is what the middleware cannot work without, and is without.
func (m *oidcAuth) lacking() []string {
	all := m.keys.lacking()
	if !m.informed() {
		all = append(all, "logouts of "+m.Issuer+" in "+m.told.redis.Name())
	}
	return all
}

// once says whether a name was used before, and remembers it. An error says that other gateways
// could not be asked, and that none has used it here.
func (m *oidcAuth) once(ctx context.Context, name string, now, until time.Time) (used bool, err error) {
	if _, used = m.kept.used.GetOrPut(name, struct{}{}, now, until); used || m.told == nil {
		return used, nil
	}
	first, err := m.told.redis.Once(ctx, "oidc "+m.told.meaning+" "+name, until.Sub(now))
	return err == nil && !first, err
}

// again lets a name be used again.
func (m *oidcAuth) again(name string) {
	now := time.Now()
	m.kept.used.Put(name, struct{}{}, now, now)
}

// end ends the sessions that a logout is about. An error says that other gateways do not know of it
// yet.
func (m *oidcAuth) end(ctx context.Context, what string, now, until time.Time) error {
	name := m.sessions.Names(what)[0]
	m.kept.ended.add(name, ending{now, until}, now)
	if m.told == nil {
		return nil
	}
	return m.told.journal.Tell(ctx, store.Entry{Name: name, At: now, Until: until})
}
