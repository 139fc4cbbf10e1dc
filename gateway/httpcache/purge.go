package httpcache

import (
	"slices"
	"strings"
)

// Purge is what is to be forgotten: one of these.
type Purge struct {
	URL    string // exactly, with its query
	Prefix string // of URLs
	Tag    string
	All    bool
}

// Invalidate forgets all answers of a URL.
func (s *Store) Invalidate(key []byte) (forgotten int) {
	sh, _ := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p := sh.pages[string(key)]
	if p == nil {
		return 0
	}
	s.drop(sh, p)
	return len(p.answers)
}

// Purge forgets answers, and tells how many. It looks at one shard after the other,
// so that no request waits for the whole of it. Answers whose fetch is under way are
// not stored afterwards either.
func (s *Store) Purge(what Purge) (forgotten int) {
	for i := range s.flights {
		s.flights[i].distrust(what)
	}
	if what.URL != "" {
		return s.Invalidate([]byte(what.URL))
	}
	for i := range s.shards {
		forgotten += s.purgeShard(&s.shards[i], what)
	}
	return forgotten
}

func (s *Store) purgeShard(sh *shard, what Purge) (forgotten int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for p := sh.head; p != nil; {
		next := p.older
		switch {
		case what.All, what.Prefix != "" && strings.HasPrefix(p.key, what.Prefix):
			forgotten += len(p.answers)
			s.drop(sh, p)
		case what.Tag != "":
			forgotten += s.purgeTag(sh, p, what.Tag)
		}
		p = next
	}
	return forgotten
}

func (s *Store) purgeTag(sh *shard, p *page, tag string) (forgotten int) {
	kept := make([]*Answer, 0, len(p.answers))
	for _, a := range p.answers {
		if !slices.Contains(a.tags, tag) {
			kept = append(kept, a)
			continue
		}
		forgotten++
		p.size -= a.size
		s.used.Add(-a.size)
	}
	if forgotten == 0 {
		return 0
	}
	if p.answers = kept; len(kept) == 0 {
		s.drop(sh, p)
	}
	return forgotten
}
