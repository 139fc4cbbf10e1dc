package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

var rootType = reflect.TypeFor[Root]()

// decode fills the Root from the joined tree.
func (c *Config) decode(d *decoder) {
	root := reflect.ValueOf(&c.Root).Elem()
	setDefaults(root)
	c.doc.record(root, 1, c.root)
	d.value(root, c.root)
	c.doc.seal()
}

func setDefaultsOf(p any) { setDefaults(reflect.ValueOf(p).Elem()) }

// check finds the mistakes that lie between parts of a configuration. What has
// no value by now has been complained of before, and so have the paths in failed.
func (c *Config) check(failed map[string]bool) Errors {
	var errs Errors
	for _, names := range []struct {
		noun string
		node *node
	}{
		{"listener", c.root.node.get("listeners")},
		{"upstream", c.root.node.get("upstreams")},
		{"middleware", c.root.node.get("middleware")},
	} {
		if names.node == nil {
			continue
		}
		for _, e := range names.node.entries {
			if !nameForm.MatchString(e.key) {
				errs = append(errs, e.value.file.errorAt(e.at, "%s %s", names.noun, badName(e.key)))
			}
		}
	}
	errs = append(errs, c.checkAddresses()...)
	errs = append(errs, c.checkHealth(failed)...)
	errs = append(errs, c.checkTargets()...)
	errs = append(errs, c.checkNames()...)
	errs = append(errs, c.checkMatches(failed)...)
	errs = append(errs, c.checkListeners()...)
	errs = append(errs, c.checkKeepHeaders(failed)...)
	return errs
}

// decidedOn are the headers that the gateway itself acts on. Servers that take
// an underscore for a dash would take an alias for the header, so none is kept.
var decidedOn = []string{
	"authorization", "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host", "keep-alive",
	"origin", "proxy", "range", "te", "trailer", "transfer-encoding", "upgrade", "x-forwarded", "x-forwarded-for",
	"x-forwarded-host", "x-forwarded-proto", "x-http-method-override", "x-real-ip", "x-request-id",
}

// checkKeepHeaders wants names that would be dropped if they were not listed.
func (c *Config) checkKeepHeaders(failed map[string]bool) (errs Errors) {
	for i, name := range c.KeepHeaders {
		dashed := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
		switch {
		case failed["keep_headers["+strconv.Itoa(i)+"]"]:
		case !tokenForm.MatchString(name):
			errs = append(errs, c.Errorf(&c.KeepHeaders[i], "%q is no name of a header", name))
		case !strings.ContainsAny(name, "_."):
			errs = append(errs, c.Errorf(&c.KeepHeaders[i], "%s has no underscore and no dot, so it is not dropped; leave it out", name))
		case slices.Contains(decidedOn, dashed):
			errs = append(errs, c.Errorf(&c.KeepHeaders[i], "%s can be taken for %s, which the gateway decides on; requests with it are refused", name, dashed))
		}
	}
	return errs
}

// checkTargets wants each route to lead somewhere.
func (c *Config) checkTargets() (errs Errors) {
	for _, r := range c.Routes {
		c.doc.pace.Step()
		if r == nil || r.To == "" {
			continue
		}
		if _, ok := c.Upstreams[r.To]; !ok && !c.Lost("upstreams", r.To) {
			errs = append(errs, c.Errorf(&r.To, "unknown upstream %q%s", r.To, Suggest(r.To, keys(c.Upstreams))))
		}
	}
	return errs
}

// checkHealth compares the times of health checks that are written: the default
// timeout gives way to a shorter interval.
func (c *Config) checkHealth(failed map[string]bool) (errs Errors) {
	for name, u := range c.Upstreams {
		c.doc.pace.Step()
		path := "upstreams." + name + ".health."
		if u == nil || u.Health == nil || failed[path+"timeout"] || failed[path+"interval"] {
			continue
		}
		h := u.Health
		if _, written := c.lookup(&h.Timeout); written && h.Timeout > h.Interval {
			errs = append(errs, c.Errorf(&h.Timeout, "%v is longer than the interval of %v", h.Timeout, h.Interval))
		}
	}
	return errs
}

func (c *Config) checkNames() (errs Errors) {
	first := make(map[string]*Route, len(c.Routes))
	for _, r := range c.Routes {
		c.doc.pace.Step()
		if r == nil || r.Name == "" {
			continue
		}
		if other, taken := first[r.Name]; taken {
			errs = append(errs, c.Errorf(&r.Name, "a second route is named %q; the first is at %s", r.Name, c.Pos(&other.Name)))
			continue
		}
		first[r.Name] = r
	}
	return errs
}

// checkMatches refuses matches that are never reached: for each of their hosts an
// earlier one, of any route, matches the same requests.
func (c *Config) checkMatches(failed map[string]bool) (errs Errors) {
	type asked struct{ host, key string }
	first := make(map[asked]*Match, len(c.Routes))
	nodes := c.root.node.get("routes").list()
	for i, r := range c.Routes {
		c.doc.pace.Step()
		if r == nil {
			continue
		}
		if _, unsure := failed[fmt.Sprintf("routes[%d].match", i)]; unsure {
			continue // what could not be decoded makes matches look alike
		}
		for j := range r.Match {
			m := &r.Match[j]
			key, hosts := c.doc.keyOf(m, nodes[i].file), m.hosts()
			var other *Match
			reached := false
			for _, host := range hosts {
				before, taken := first[asked{host, key}]
				if !taken {
					first[asked{host, key}], reached = m, true
					continue
				}
				other = cmp.Or(other, before)
			}
			if !reached {
				errs = append(errs, c.Errorf(m, "%s matches the same requests%s as the one at %s", noun(r), forHosts(hosts), c.Pos(other)))
			}
		}
	}
	return errs
}

func noun(r *Route) string {
	if len(r.Match) > 1 {
		return "this"
	}
	return "this route"
}

func forHosts(hosts []string) string {
	if hosts[0] == "" {
		return ""
	}
	return " for " + strings.Join(hosts, " and ")
}

// checkListeners wants the listeners that matches name.
func (c *Config) checkListeners() (errs Errors) {
	known := keys(c.Listeners)
	if len(known) == 0 {
		known = []string{defaultName}
	}
	for _, r := range c.Routes {
		c.doc.pace.Step()
		if r == nil {
			continue
		}
		for i := range r.Match {
			for j, name := range r.Match[i].Listeners {
				if !slices.Contains(known, name) && !c.Lost("listeners", name) {
					errs = append(errs, c.Errorf(&r.Match[i].Listeners[j], "unknown listener %q%s", name, Suggest(name, known)))
				}
			}
		}
	}
	return errs
}

// checkAddresses wants each address to be listened on once.
func (c *Config) checkAddresses() (errs Errors) {
	type user struct {
		addr  address
		field *string
	}
	users := make([]user, 0, len(c.Listeners)+1)
	add := func(field *string) {
		addr, err := parseListen(*field)
		if err != nil {
			return
		}
		for _, u := range users {
			if !u.addr.overlaps(addr) {
				continue
			}
			e := c.Errorf(field, "the address %s is taken by the listener at %s", *field, c.Pos(u.field))
			if _, written := c.lookup(field); !written {
				e = c.Errorf(u.field, "the address %s is the default of admin.address, %s; change one of them", *u.field, *field)
			}
			errs = append(errs, e)
			return
		}
		users = append(users, user{addr, field})
	}
	names := slices.SortedFunc(maps.Keys(c.Listeners), func(a, b string) int {
		return comparePos(c.Pos(c.Listeners[a]), c.Pos(c.Listeners[b]))
	})
	for _, name := range names {
		if l := c.Listeners[name]; l != nil {
			if l.Address != "" {
				add(&l.Address)
			}
			for i := range l.Addresses {
				add(&l.Addresses[i])
			}
		}
	}
	add(&c.Admin.Address)
	return errs
}

func comparePos(a, b Pos) int {
	if a.Line != b.Line {
		return a.Line - b.Line
	}
	return a.Column - b.Column
}

// address is host:port taken apart, or the path of a Unix socket. An empty host
// is all addresses.
type address struct {
	host string
	port uint16
	path string
}

// parseListen takes apart what can be listened on.
func parseListen(text string) (address, error) {
	path, unix := strings.CutPrefix(text, "unix:")
	switch {
	case !unix:
		return parseAddress(text)
	case path == "":
		return address{}, errors.New("unix: names no path")
	case !filepath.IsAbs(path):
		return address{}, fmt.Errorf("%q is no absolute path; write for example unix:/run/pithead/web.sock", path)
	case len(path) > maxSocketPath:
		return address{}, fmt.Errorf("the path is longer than the %d bytes that a socket can have", maxSocketPath)
	}
	return address{path: filepath.Clean(path)}, nil
}

// maxSocketPath leaves room for the name that a socket is made under.
const maxSocketPath = 90

func parseAddress(text string) (address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, fmt.Errorf("%q is no address; write for example :8080 or 127.0.0.1:8080", text)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return address{}, fmt.Errorf("%q has no good port", text)
	}
	if host != "" && strings.HasPrefix(host, "*") {
		return address{}, errors.New("leave the host empty to listen on all addresses")
	}
	if host != "" {
		if err := checkHost(host); err != nil && !strings.Contains(host, "%") {
			return address{}, err
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
		if ip.IsUnspecified() {
			host = ""
		}
	}
	return address{host: strings.ToLower(host), port: uint16(n)}, nil
}

// overlaps says whether the system would refuse to listen on both. Port 0 is a
// free one each time.
func (a address) overlaps(b address) bool {
	if a.path != "" || b.path != "" {
		return a.path == b.path
	}
	return a.port == b.port && a.port != 0 && (a.host == b.host || a.host == "" || b.host == "")
}

func (a address) loopback() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "localhost" || err == nil && ip.IsLoopback()
}

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }
