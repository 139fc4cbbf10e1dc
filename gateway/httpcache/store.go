package httpcache

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards      = 64
	maxVariants = 32 // of one URL
	pageSize    = 320
	aloneFor    = time.Minute
)

// Store keeps answers within a bound of bytes. What is over it goes by SIEVE: a hand
// moves over the URLs from the oldest, spares those that were asked for since it was
// there last, and takes the first other one. So a flood of URLs that are asked for
// once pushes out itself, not what is in use.
type Store struct {
	seed    maphash.Seed
	max     atomic.Int64
	used    atomic.Int64
	flying  atomic.Int64 // bytes of answers that are on their way
	shards  [shards]shard
	flights [shards]flightShard
}

type shard struct {
	mu         sync.RWMutex
	pages      map[string]*page
	head, tail *page // newest and oldest
	hand       *page
	evicted    uint64
	counts     [results]atomic.Uint64
	_          [64]byte // the next one is another core's
}

// page is all that is stored of one URL.
type page struct {
	key        string
	newer      *page
	older      *page
	answers    []*Answer
	size       int64
	aloneUntil [2]time.Time // for requests without a cookie, and with one
	visited    atomic.Bool
}

// Result is what became of a request.
type Result uint8

// What becomes of requests.
const (
	Hit Result = iota
	Stale
	Revalidated
	Miss
	Collapsed
	Bypass
	results
)

var resultNames = [results]string{"hit", "stale", "revalidated", "miss", "collapsed", "bypass"}

// String is the value of the metric's label.
func (r Result) String() string { return resultNames[r] }

// NewStore makes an empty store of that many bytes.
func NewStore(maxBytes int64) *Store {
	s := &Store{seed: maphash.MakeSeed()}
	s.max.Store(maxBytes)
	for i := range s.shards {
		s.shards[i].pages = make(map[string]*page)
		s.flights[i].m = make(map[string]*Flight)
	}
	return s
}

// Resize changes the bound, and keeps to it at once.
func (s *Store) Resize(maxBytes int64) {
	s.max.Store(maxBytes)
	s.fit(0, nil)
}

func (s *Store) shard(key []byte) (*shard, int) {
	i := int(maphash.Bytes(s.seed, key) % shards)
	return &s.shards[i], i
}

// Found is what a store has for a request.
type Found struct {
	Answer *Answer // nil: none
	Known  bool    // the URL has answers, for others
	Alone  bool    // the last answer could not be shared, so that it is useless to wait for one
}

// Context is what beside its URL and the fields of Vary a request has an answer of its
// own for. An answer that is shared by everybody is found by the part that they have in
// common, whatever is known of them.
type Context struct {
	Whole      []byte
	Common     int  // bytes of Whole
	Identified bool // only what is shared will do
	Cookie     bool // the request has one
}

func (c *Context) cookie() int {
	if c.Cookie {
		return 1
	}
	return 0
}

func (c *Context) takes(a *Answer) bool {
	if a.Shared {
		return a.Context == string(c.Whole[:c.Common])
	}
	return !c.Identified && a.Context == string(c.Whole)
}

// Of is the context that an answer with these terms is stored under.
func (c *Context) Of(t *Terms) string {
	if t.Shared {
		return string(c.Whole[:c.Common])
	}
	return string(c.Whole)
}

// Get finds the answer for a request. field gives the values of its header fields as
// they would go to the service.
func (s *Store) Get(key []byte, c *Context, field func(name string) []string) Found {
	sh, _ := s.shard(key)
	sh.mu.RLock()
	p := sh.pages[string(key)]
	if p == nil {
		sh.mu.RUnlock()
		return Found{}
	}
	answers, alone := p.answers, p.aloneUntil[c.cookie()] // lists are replaced, never changed
	sh.mu.RUnlock()
	if !p.visited.Load() {
		p.visited.Store(true)
	}
	f := Found{Known: len(answers) > 0}
	for _, a := range answers {
		if c.takes(a) && a.fits(field) {
			f.Answer = a
			return f
		}
	}
	f.Alone = !alone.IsZero() && time.Now().Before(alone)
	return f
}

// Varies adds to b the values of the fields that the answers of a URL are known to
// depend on: requests that differ in them need not wait for each other.
func (s *Store) Varies(b, key []byte, field func(name string) []string) []byte {
	sh, _ := s.shard(key)
	sh.mu.RLock()
	p := sh.pages[string(key)]
	var last *Answer
	if p != nil && len(p.answers) > 0 {
		last = p.answers[len(p.answers)-1]
	}
	sh.mu.RUnlock()
	if last == nil {
		return b
	}
	for _, name := range last.vary {
		for _, v := range field(name) {
			b = append(append(b, v...), 0)
		}
		b = append(b, '\n')
	}
	return b
}

// Put stores an answer in the place of the one for the same requests, if there is one.
func (s *Store) Put(key []byte, a *Answer) {
	s.change(key, func(p *page) {
		answers := make([]*Answer, 0, len(p.answers)+1)
		for _, old := range p.answers {
			if !old.same(a) {
				answers = append(answers, old)
			}
		}
		if len(answers) == maxVariants {
			answers = answers[1:] // they stand in the order in which they came
		}
		answers = append(answers, a)
		p.answers, p.aloneUntil = answers, [2]time.Time{}
	})
}

// Alone remembers for a while that answers of a URL cannot be shared.
func (s *Store) Alone(key []byte, c *Context, now time.Time) {
	s.change(key, func(p *page) { p.aloneUntil[c.cookie()] = now.Add(aloneFor) })
}

func (a *Answer) same(b *Answer) bool {
	return a.Context == b.Context && slices.Equal(a.vary, b.vary) && slices.EqualFunc(a.values, b.values, slices.Equal[[]string])
}

// change has f edit the page of a URL, and makes room for what it has added.
func (s *Store) change(key []byte, f func(*page)) {
	sh, i := s.shard(key)
	sh.mu.Lock()
	p := sh.pages[string(key)]
	if p == nil {
		p = &page{key: string(key)}
		sh.pages[p.key] = p
		sh.push(p)
	}
	f(p)
	before := p.size
	p.size = pageSize + int64(len(p.key))
	for _, a := range p.answers {
		p.size += a.size
	}
	s.used.Add(p.size - before)
	sh.mu.Unlock()
	s.fit(i, p)
}

// fit takes pages away until the rest is within the bound, first from the shard that
// has grown. spared, which has just come, is the last to go.
func (s *Store) fit(from int, spared *page) {
	for n := range 2 * shards {
		if s.used.Load() <= s.max.Load() {
			return
		}
		if n == shards {
			spared = nil
		}
		sh := &s.shards[(from+n)%shards]
		sh.mu.Lock()
		for s.used.Load() > s.max.Load() {
			p := sh.oldest(spared)
			if p == nil {
				break
			}
			s.drop(sh, p)
			sh.evicted++
		}
		sh.mu.Unlock()
	}
}

// drop forgets a page. The caller has the lock.
func (s *Store) drop(sh *shard, p *page) {
	delete(sh.pages, p.key)
	sh.unlink(p)
	s.used.Add(-p.size)
}

func (sh *shard) push(p *page) {
	p.older = sh.head
	if sh.head != nil {
		sh.head.newer = p
	}
	sh.head = p
	if sh.tail == nil {
		sh.tail = p
	}
}

func (sh *shard) unlink(p *page) {
	if sh.hand == p {
		sh.hand = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		sh.head = p.older
	}
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		sh.tail = p.newer
	}
	p.newer, p.older = nil, nil
}

// oldest moves the hand to the page that is to go; nil when there is none.
func (sh *shard) oldest(spared *page) *page {
	if alone := sh.tail == sh.head; sh.tail == nil || alone && sh.tail == spared {
		return nil
	}
	for {
		p := sh.hand
		if p == nil {
			p = sh.tail
		}
		if p != spared && !p.visited.Load() {
			sh.hand = p
			return p
		}
		p.visited.Store(false)
		sh.hand = p.newer
	}
}

// Count counts what has become of a request.
func (s *Store) Count(key []byte, r Result) {
	sh, _ := s.shard(key)
	sh.counts[r].Add(1)
}

// Info is what a store looks like.
type Info struct {
	Bytes, MaxBytes, URLs int64
	Answers               int64
	Evicted               uint64
	Results               map[string]uint64
}

// Info looks at the store.
func (s *Store) Info() Info {
	i := Info{Bytes: s.used.Load(), MaxBytes: s.max.Load(), Results: make(map[string]uint64, results)}
	for n := range s.shards {
		sh := &s.shards[n]
		sh.mu.RLock()
		i.URLs += int64(len(sh.pages))
		for p := sh.head; p != nil; p = p.older {
			i.Answers += int64(len(p.answers))
		}
		i.Evicted += sh.evicted
		sh.mu.RUnlock()
		for r := range sh.counts {
			i.Results[Result(r).String()] += sh.counts[r].Load()
		}
	}
	return i
}
