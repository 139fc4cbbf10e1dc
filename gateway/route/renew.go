package route

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pithead/pithead/gateway/pace"
)

// Place is where a rule of Renew belongs.
type Place struct {
	Key   any // equal keys mean equal rules; nil is equal to none
	Route int // rules of one route are alternatives to each other; for Explain
}

// Renew is New on top of an older table, which may be nil and stays as it is: a rule
// whose key is in that one is taken over and not asked for, and so is the index of
// each host whose rules are the same ones in the same order. p, which may be nil, says
// when to let requests go first.
func Renew(old *Table, places []Place, p *pace.Pacer, ask func(i int) Rule) (*Table, error) {
	t := &Table{
		names: make(map[string]*site), suffixes: make(map[string]*site), any: newSite(host{}),
		rules: make([]*rule, len(places)), known: make(map[any]*rule, len(places)),
	}
	var errs RuleErrors
	for i, at := range places {
		p.Step()
		if taken := old.take(at.Key); taken != nil && t.known[at.Key] == nil {
			t.rules[i] = taken
		} else {
			c := compiler{rule: &rule{}, index: i}
			c.compile(ask(i))
			errs = append(errs, c.errs...)
			t.rules[i], c.id = c.rule, unplaced
		}
		if at.Key != nil {
			t.known[at.Key] = t.rules[i]
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	t.number(places)
	t.index(old, p)
	return t, nil
}

func (t *Table) take(key any) *rule {
	if t == nil || key == nil {
		return nil
	}
	return t.known[key]
}

// place is where a rule stands in the lists of the caller. Rules are shared by
// tables in which they stand in different places, so the table has it.
type place struct{ rule, route int }

const unplaced = -1

// number gives a number to each rule that has none yet, and notes its place under it.
func (t *Table) number(places []Place) {
	room := len(t.rules)
	for _, r := range t.rules {
		room = max(room, r.id+1)
	}
	t.places = make([]place, room)
	taken := make([]bool, room)
	for _, r := range t.rules {
		if r.id != unplaced {
			taken[r.id] = true
		}
	}
	next := 0
	for i, r := range t.rules {
		if r.id == unplaced {
			for taken[next] {
				next++
			}
			r.id, taken[next] = next, true
		}
		t.places[r.id] = place{i, places[i].Route}
	}
}

// index makes the index of each host, or takes it over.
func (t *Table) index(old *Table, p *pace.Pacer) {
	touched, all := t.touched(old, p)
	if !all {
		t.names, t.suffixes, t.any = maps.Clone(old.names), maps.Clone(old.suffixes), old.any
	}
	byHost := make(map[host][]*rule, len(touched))
	for _, r := range t.rules {
		p.Step()
		for _, h := range r.hosts {
			if all || touched[h] {
				byHost[h] = append(byHost[h], r)
			}
		}
	}
	for h := range touched {
		if byHost[h] == nil {
			t.forget(h)
		}
	}
	for h, rules := range byHost {
		p.Step()
		s := old.site(h)
		if s == nil || !slices.Equal(s.rules, rules) {
			s = indexed(h, rules, p)
		}
		t.keep(s)
	}
	for name := range t.suffixes {
		t.longest = max(t.longest, len(name))
	}
}

// touched are the hosts of the rules that old does not have, and of those that only old
// has. When there is no old one, or others stand in another order, it is all of them.
func (t *Table) touched(old *Table, p *pace.Pacer) (hosts map[host]bool, all bool) {
	if old == nil {
		return nil, true
	}
	hosts = make(map[host]bool)
	touch := func(r *rule) {
		for _, h := range r.hosts {
			hosts[h] = true
		}
	}
	last := -1
	for _, r := range t.rules {
		p.Step()
		switch before, has := old.place(r); {
		case !has:
			touch(r)
		case before < last:
			return nil, true
		default:
			last = before
		}
	}
	for _, r := range old.rules {
		p.Step()
		if _, stays := t.place(r); !stays {
			touch(r)
		}
	}
	return hosts, false
}

// place is where r stands among the rules, if it is one of them.
func (t *Table) place(r *rule) (at int, has bool) {
	if r.id >= len(t.places) {
		return 0, false
	}
	at = t.places[r.id].rule
	return at, t.rules[at] == r
}

func (t *Table) keep(s *site) {
	switch {
	case s.host.name == "":
		t.any = s
	case s.host.wildcard:
		t.suffixes[s.host.name] = s
	default:
		t.names[s.host.name] = s
	}
}

func (t *Table) forget(h host) {
	switch {
	case h.name == "":
		t.any = newSite(h)
	case h.wildcard:
		delete(t.suffixes, h.name)
	default:
		delete(t.names, h.name)
	}
}

// site is the index of a host; nil if there is none.
func (t *Table) site(h host) *site {
	switch {
	case t == nil:
		return nil
	case h.name == "":
		return t.any
	case h.wildcard:
		return t.suffixes[h.name]
	}
	return t.names[h.name]
}

// indexed makes the index of the rules of a host.
func indexed(h host, rules []*rule, p *pace.Pacer) *site {
	s := newSite(h)
	s.rules, s.entries = rules, make([]*entry, len(rules))
	for i, r := range rules {
		s.entries[i] = &entry{rule: r, host: h}
	}
	slices.SortStableFunc(s.entries, precedence)
	for rank, e := range s.entries {
		p.Step()
		e.rank = rank
		s.add(e)
	}
	s.finish(p)
	return s
}

// entries are all rules under all of their hosts, nearest first: what hosts exclude
// from each other is sorted to be read by people.
func (t *Table) entries() (all []*entry) {
	sites := slices.Concat([]*site{t.any}, slices.Collect(maps.Values(t.names)), slices.Collect(maps.Values(t.suffixes)))
	slices.SortFunc(sites, func(a, b *site) int {
		return cmp.Or(
			cmp.Compare(a.host.class(), b.host.class()),
			cmp.Compare(len(b.host.name), len(a.host.name)),
			cmp.Compare(a.host.name, b.host.name),
		)
	})
	for _, s := range sites {
		all = append(all, s.entries...)
	}
	return all
}
