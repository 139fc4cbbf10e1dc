package config

import (
	"maps"
	"slices"
	"time"
)

// DefaultListener is the address that is listened on when a configuration names
// none.
const DefaultListener = ":8080"

// defaultName is the name of that listener.
const defaultName = "web"

// SetDefaults sets the values that the comments of the fields name.
func (a *Admin) SetDefaults() { a.Address = "127.0.0.1:9901" }

// SetDefaults sets the values that the comments of the fields name.
func (a *AccessLog) SetDefaults() { *a = AccessLog{Output: "stdout", Format: "json"} }

// SetDefaults sets the values that the comments of the fields name.
func (r *Reload) SetDefaults() {
	*r = Reload{Watch: true, Debounce: 250 * time.Millisecond, Poll: 10 * time.Second}
}

// SetDefaults sets the values that the comments of the fields name.
func (s *Shutdown) SetDefaults() {
	*s = Shutdown{Delay: 5 * time.Second, LameDuck: time.Second, Grace: 25 * time.Second}
}

// prune takes out what could not be understood at all, so that whoever looks for
// more mistakes meets no nil and no word that has been complained of.
func (c *Config) prune() {
	maps.DeleteFunc(c.Listeners, func(_ string, l *Listener) bool { return l == nil })
	maps.DeleteFunc(c.Upstreams, func(_ string, u *Upstream) bool { return u == nil })
	maps.DeleteFunc(c.Middleware, func(_ string, b *Block) bool { return b == nil })
	c.places = make(map[*Route]int, len(c.Routes))
	for i, r := range c.Routes {
		c.places[r] = i
	}
	c.Routes = slices.DeleteFunc(c.Routes, func(r *Route) bool { return r == nil })
	for _, r := range c.Routes {
		without(&r.Use, func(b *Block) bool { return b == nil })
		without(&r.AllowEncoded, func(word string) bool { return !slices.Contains(encodedNames, word) })
	}
	for _, u := range c.Upstreams {
		maps.DeleteFunc(u.Arms, func(_ string, a *Arm) bool { return a == nil })
	}
}

// without writes only if there is something to take out: another configuration may
// share the list.
func without[T any](list *[]T, bad func(T) bool) {
	if slices.ContainsFunc(*list, bad) {
		*list = slices.DeleteFunc(*list, bad)
	}
}

// complete fills in the defaults that depend on other settings.
func (c *Config) complete() {
	if len(c.Listeners) == 0 {
		l := &Listener{Address: DefaultListener}
		setDefaultsOf(l)
		c.Listeners = map[string]*Listener{defaultName: l}
	}
	for _, l := range c.Listeners {
		if len(l.Protocols) > 0 {
			continue
		}
		l.Protocols = []string{"h1"}
		if l.TLS != nil {
			l.Protocols = []string{"h1", "h2"}
		}
	}
	for _, u := range c.Upstreams {
		if u.Balance == nil {
			u.Balance = c.doc.ref("round_robin", c.find(u))
		}
		if h := u.Health; h != nil {
			if _, written := c.lookup(&h.Timeout); !written {
				if h.Timeout > h.Interval { // else nothing is written: another configuration may share it
					h.Timeout = h.Interval
				}
			}
		}
	}
	nameRoutes(c.Routes)
}
