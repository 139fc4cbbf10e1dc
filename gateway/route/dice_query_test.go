package route

import (
	"strings"
	"testing"
)

var (
	// What ends at the room for values without escapes, and what does not fit.
	fitting = strings.Repeat("m", maxUnescaped)
	tooLong = strings.Repeat("n", maxUnescaped+1)
)

// manyOfQuery makes rules of one path that differ in their query parameters, enough
// of them for an index, and in crowded worlds for further ones inside it.
func (d dice) manyOfQuery() []Rule {
	rules := make([]Rule, 8+d.next(90))
	crowded := d.next(3) == 0
	for i := range rules {
		r := Rule{Route: i, Query: values{}}
		if crowded {
			r.Query["q"] = Value{Exact: d.of("1", "1", "A", "a b")}
			r.Query["p"] = Value{Exact: d.of("1", "2", "é")}
		}
		for range 1 + d.next(3) {
			r.Query[d.paramName()] = d.paramValue()
		}
		if d.next(2) == 0 {
			r.Headers = values{d.of("x-a", "x-a", "x-b"): []Value{{Exact: "1"}, {Exact: "2"}, {Exact: "12"}, d.value()}[d.next(4)]}
		}
		if d.next(6) == 0 {
			r.Methods = []string{d.of("GET", "POST")}
		}
		if d.next(8) == 0 {
			r.Clients = d.networks()
		}
		r.Hosts = []string{d.of("", "", "", "", "", "", "", "", "a.com", "*.a.com")}
		switch d.next(16) {
		case 0:
			r.Prefix = "/a"
		case 1:
			r.Path = "/{v}"
		case 2:
			r.GRPC = &GRPC{}
			r.Methods = nil
		default:
			r.Prefix = "/"
		}
		rules[i] = r
	}
	return rules
}

func (d dice) paramName() string {
	return d.of("q", "q", "q", "q", "q", "p", "p", "p", "Q", "q q", "q+")
}

func (d dice) paramValue() Value {
	if d.next(4) == 0 {
		return []Value{{}, {Regex: "[0-9]"}, {Regex: "2|a.*"}, {Not: "1"}, {Not: "a b"}, {Absent: true}}[d.next(6)]
	}
	return Value{Exact: d.of("1", "1", "1", "2", "A", "a", "a b", "a+b", "%41", "é", "=", "&", "x;y", "\x00", fitting, tooLong)}
}

// query writes what those rules ask for in all the ways that there are, and in some
// that there are not.
func (d dice) query() string {
	params := make([]string, d.next(5))
	for i := range params {
		params[i] = d.of("q", "q", "q", "q", "p", "p", "Q", "%71", "%51", "q+q", "q%20q", "q%2B", "q%2b", "", "%zz", "%7") +
			d.of("", "=", "=1", "=1", "=1", "=%31", "=2", "=A", "=%41", "=a", "=a+b", "=a%20b", "=a%2Bb", "=%2541", "=%C3%A9", "=\xc3\xa9",
				"==", "=%3D", "=%26", "=x;y", "=x%3By", "=%00", "=%zz", "=1%", "=1%3",
				"="+fitting, "="+fitting[1:]+"%6D", "="+fitting+"%6d", "="+tooLong, "=%6e"+tooLong[1:], "="+tooLong+"+")
	}
	return d.of("?", "?", "?", "?&") + strings.Join(params, "&")
}

// TestQueryDiceReachTheIndex keeps the generator from testing the index without one.
func TestQueryDiceReachTheIndex(t *testing.T) {
	byQuery, byHeader, inside, beside, tried := 0, 0, 0, 0, 0
	var look func(s shelf, depth int)
	look = func(s shelf, depth int) {
		for x := s.values; x != nil; x = x.next {
			if x.by.query {
				byQuery++
			} else {
				byHeader++
			}
			if depth > 0 {
				inside++
			}
			if x.next != nil {
				beside++
			}
			tried += len(s.entries)
			for _, below := range x.shelves {
				look(below, depth+1)
			}
		}
	}
	d := seeded(5, 6)
	for range 200 {
		for _, s := range table(t, d.manyOfQuery()...).any.prefixes {
			look(s, 0)
		}
	}
	if byQuery < 200 || byHeader == 0 || inside < 10 || beside < 10 || tried < 1000 {
		t.Errorf("%d by query, %d by header, %d inside another, %d beside another, %d entries that are tried: too few",
			byQuery, byHeader, inside, beside, tried)
	}
}
