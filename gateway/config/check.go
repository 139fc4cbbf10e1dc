package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
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
// no value by now has been complained of before.
func (c *Config) check() Errors {
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
	errs = append(errs, c.checkTargets()...)
	errs = append(errs, c.checkNames()...)
	errs = append(errs, c.checkMatches()...)
	for i, name := range c.KeepHeaders {
		if name != "" && !tokenForm.MatchString(name) {
			errs = append(errs, c.Errorf(&c.KeepHeaders[i], "%q is no name of a header", name))
		}
	}
	return errs
}

// checkTargets wants each route to lead somewhere.
func (c *Config) checkTargets() (errs Errors) {
	for _, r := range c.Routes {
		if r == nil || r.To == "" {
			continue
		}
		if _, ok := c.Upstreams[r.To]; !ok {
			errs = append(errs, c.Errorf(&r.To, "unknown upstream %q%s", r.To, Suggest(r.To, keys(c.Upstreams))))
		}
	}
	return errs
}

func (c *Config) checkNames() (errs Errors) {
	first := make(map[string]*Route)
	for _, r := range c.Routes {
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

// checkMatches refuses routes of which the second is never reached.
func (c *Config) checkMatches() (errs Errors) {
	first := make(map[string]*Route)
	for _, r := range c.Routes {
		if r == nil || r.Match.Path+r.Match.Prefix+r.Match.PathRegex == "" {
			continue
		}
		key := r.Match.key()
		for _, host := range r.Match.hosts() {
			other, taken := first[host+" "+key]
			if !taken {
				first[host+" "+key] = r
				continue
			}
			if other != r {
				errs = append(errs, c.Errorf(&r.Match, "this route matches the same requests as the one at %s", c.Pos(&other.Match)))
			}
			break
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
		addr, err := parseAddress(*field)
		if err != nil {
			return
		}
		for _, u := range users {
			if u.addr.overlaps(addr) {
				errs = append(errs, c.Errorf(field, "the address %s is taken by the listener at %s", *field, c.Pos(u.field)))
				return
			}
		}
		users = append(users, user{addr, field})
	}
	names := slices.SortedFunc(maps.Keys(c.Listeners), func(a, b string) int {
		return comparePos(c.Pos(c.Listeners[a]), c.Pos(c.Listeners[b]))
	})
	for _, name := range names {
		if l := c.Listeners[name]; l != nil {
			add(&l.Address)
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

// address is host:port taken apart. An empty host is all addresses.
type address struct {
	host string
	port uint16
}

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
	return address{strings.ToLower(host), uint16(n)}, nil
}

// overlaps says whether the system would refuse to listen on both. Port 0 is a
// free one each time.
func (a address) overlaps(b address) bool {
	return a.port == b.port && a.port != 0 && (a.host == b.host || a.host == "" || b.host == "")
}

func (a address) loopback() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "localhost" || err == nil && ip.IsLoopback()
}

func keys[V any](m map[string]V) []string { return slices.Collect(maps.Keys(m)) }
