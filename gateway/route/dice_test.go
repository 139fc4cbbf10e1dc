package route

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

// dice draws rules and requests from a small world, in which they meet often.
type dice struct{ next func(n int) int }

func seeded(a, b uint64) dice { return dice{rand.New(rand.NewPCG(a, b)).IntN} }

func (d dice) of(words ...string) string { return words[d.next(len(words))] }

// rules are of one path now and then, so that they meet in one place of the index.
func (d dice) rules() []Rule {
	if d.next(4) == 0 {
		return d.manyOfQuery()
	}
	rules := make([]Rule, 1+d.next(12))
	onePath := d.next(4) == 0
	if onePath {
		rules = make([]Rule, 8+d.next(16))
	}
	for i := range rules {
		r := Rule{Route: i, Hosts: []string{d.of("", "", "a.com", "b.a.com", "*.a.com", "*.b.a.com", "*.com")}}
		if i > 0 && d.next(5) == 0 {
			r.Route = i - 1
		}
		if d.next(4) == 0 {
			r.Hosts = append(r.Hosts, d.of("c.org", "*.org", "b.a.com"))
		}
		if onePath {
			r.Hosts, r.Prefix = []string{""}, "/"
		} else {
			d.setPath(&r)
		}
		if r.GRPC == nil && d.next(3) == 0 {
			r.Methods = []string{d.of("GET", "POST", "TRACE", "PUT"), "GET"}[:1+d.next(2)]
		}
		if onePath || d.next(4) == 0 {
			r.Headers = values{d.of("x-a", "x-a", "X-B"): d.value()}
		}
		if d.next(4) == 0 {
			r.Query = values{d.of("q", "p"): d.value()}
		}
		if d.next(6) == 0 {
			r.Clients = d.networks()
		}
		if d.next(6) == 0 {
			r.Listeners = []string{d.of("web", "tls"), "tls"}[:1+d.next(2)]
		}
		rules[i] = r
	}
	return rules
}

func (d dice) setPath(r *Rule) {
	switch d.next(10) {
	case 0:
	case 1, 2:
		r.Prefix = d.path("a", "b", "ab", "a%2Fb", "s.A") + d.of("", "/")
		r.Prefix = strings.ReplaceAll(r.Prefix, "//", "/")
	case 3:
		r.PathRegex = d.of("/a.*", "/[ab]+", "/[0-9]+/[^/]+", "/a/b", "/[^/]+/?", "/(?:a|b)")
	case 4, 5:
		r.GRPC = &GRPC{Service: d.name("s.A", "s.AB", `s\.[A-Z]+`, "[a-z.A]+"), Method: d.name("Do", "Get", "[A-Z].*", "(?i:do|got)")}
	default:
		r.Path = d.path("a", "b", "ab", "a%2Fb", "{p}", "{p}", "{p:[0-9]+}", "{p}.js", "a{p:[a-z]*}", "{p:a|b}")
		for n := 1; strings.Contains(r.Path, "{p"); n++ {
			r.Path = strings.Replace(r.Path, "{p", fmt.Sprintf("{v%d", n), 1)
		}
	}
}

func (d dice) name(exact, longer, regex, other string) Name {
	return []Name{{}, {Exact: exact}, {Exact: longer}, {Regex: regex}, {Regex: other}}[d.next(5)]
}

func (d dice) value() Value {
	return []Value{{}, {Exact: "1"}, {Exact: "1"}, {Exact: "2"}, {Regex: "[0-9]"}, {Regex: "2|1+"}, {Not: "1"}, {Absent: true}}[d.next(8)]
}

func (d dice) networks() []netip.Prefix {
	all := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "10.200.0.0/16", "2001:db8::/32", "0.0.0.0/0", "::/0"}
	networks := make([]netip.Prefix, 1+d.next(3))
	for i := range networks {
		networks[i] = netip.MustParsePrefix(d.of(all...))
	}
	return networks
}

func (d dice) path(words ...string) string {
	path := ""
	for range d.next(4) {
		path += "/" + d.of(words...)
	}
	if path == "" || d.next(6) == 0 {
		path += "/"
	}
	return path
}

func (d dice) request(t testing.TB) (*http.Request, *gateway.Exchange) {
	t.Helper()
	method := d.of("GET", "GET", "GET", "POST", "TRACE", "PUT", "HEAD")
	path := d.path("a", "b", "ab", "a%2Fb", "7", "77", "a.js", "7a", "s.A")
	call := d.next(4) == 0
	if call {
		method, path = d.of("POST", "POST", "POST", "GET"), "/"+d.of("s.A", "s.AB", "s.A", "x/s.A")+"/"+d.of("Do", "Get", "Got", "")
	}
	text := method + " http://" + d.of("a.com", "b.a.com", "b.a.com:80", "x.b.a.com", "y.x.b.a.com", "c.org", "org") + path +
		d.of("", "", "?q=1", "?p=1&q=2", "?q", "?q=1&q=2", "?q=%zz&q=1", d.query())
	if d.next(2) == 0 {
		text += "\n" + d.of("X-A: 1", "X-A: 2", "X-B: 2\nX-B: 1", "X-A: 1\nX-B: 2", "X-A: 2\nX-A: 1", "X-A: 12")
	}
	r := request(t, text)
	if call {
		r.ProtoMajor = min(2, 1+d.next(4)) // mostly 2
		r.Header.Set("Content-Type", d.of("application/grpc", "application/grpc+proto", "application/grpc; a=b", "application/grpc-web"))
	}
	x := &gateway.Exchange{Listener: d.of("web", "tls", "")}
	x.Client, _ = netip.ParseAddr(d.of("10.1.2.3", "10.1.2.4", "10.2.0.0", "10.200.255.255", "11.0.0.1", "2001:db8::1", "fe80::1", "nowhere"))
	return gateway.WithExchange(r, x), x
}

// compareWithOracle demands the same rule and the same parameters, and that
// Explain tells the same story.
func compareWithOracle(t *testing.T, d dice) {
	t.Helper()
	rules := d.rules()
	tab, err := New(rules)
	if err != nil {
		t.Fatalf("%v\n%s", err, listing(rules))
	}
	naive := newOracle(t, rules)
	for range 8 {
		r, x := d.request(t)
		m := tab.Match(r, x)
		want, vars := naive.match(r)
		if m.Rule != want {
			t.Fatalf("%s %s %v from %v at %q: rule %d, mux says %d\n%s",
				r.Method, r.URL, r.Header, x.Client, x.Listener, m.Rule, want, listing(rules))
		}
		if diff := cmp.Diff(vars, m.Vars(r)); diff != "" {
			t.Fatalf("%s of %s (-mux +got):\n%s", r.URL, listing(rules[m.Rule:m.Rule+1]), diff)
		}
		checkExplain(t, tab, r, m, rules)
	}
}

func checkExplain(t *testing.T, tab *Table, r *http.Request, m Match, rules []Rule) {
	t.Helper()
	for i, c := range tab.ExplainAtMost(100, r, gateway.ExchangeOf(r)) {
		told := !c.Matched && m.Rule >= 0 && rules[c.Rule].Route == rules[m.Rule].Route
		if c.Matched != (c.Rule == m.Rule) || c.Why == "" || told {
			t.Fatalf("%s %s: candidate %d is %+v, the match is %d\n%s", r.Method, r.URL, i, c, m.Rule, listing(rules))
		}
	}
}

func listing(rules []Rule) string {
	var b strings.Builder
	for i, r := range rules {
		fmt.Fprintf(&b, "%d: %v %s grpc %+v methods %v headers %+v query %+v clients %v listeners %v\n",
			i, r.Hosts, cmpName(r), r.GRPC, r.Methods, r.Headers, r.Query, r.Clients, r.Listeners)
	}
	return b.String()
}

func TestMatchesLikeMux(t *testing.T) {
	d := seeded(1, 2)
	for range 1500 {
		compareWithOracle(t, d)
	}
}

// FuzzMatch lets the fuzzer throw the dice.
func FuzzMatch(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		seed := make([]byte, 800)
		for i := range seed {
			seed[i] = byte(random.IntN(256))
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		compareWithOracle(t, dice{func(n int) int {
			if len(data) == 0 {
				return 0
			}
			i := int(data[0]) % n
			data = data[1:]
			return i
		}})
	})
}
