package build

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/route"
	"github.com/pithead/pithead/middleware"
)

// matchOf says which match of the configuration a rule of the table comes from.
type matchOf struct{ route, match int }

// table makes a rule of each match of each route.
func (c *compiler) table() (*route.Table, []matchOf) {
	places := make([]route.Place, 0, len(c.cfg.Routes))
	from := make([]matchOf, 0, len(c.cfg.Routes))
	for i, r := range c.cfg.Routes {
		if c.cfg.UnsureOf(r, "match") {
			continue
		}
		for j := range r.Match {
			places, from = append(places, route.Place{Key: &r.Match[j], Route: i}), append(from, matchOf{i, j})
		}
	}
	var old *route.Table
	if c.old != nil {
		old = c.old.table
	}
	table, err := route.Renew(old, places, c.pace, func(i int) route.Rule {
		r := c.cfg.Routes[from[i].route]
		rule := ruleOf(&r.Match[from[i].match])
		rule.Name = r.Name
		return rule
	})
	bad, ok := errors.AsType[route.RuleErrors](err)
	if err != nil && !ok {
		c.fail(&c.cfg.Routes, "%w", err)
	}
	for _, e := range bad {
		at := from[e.Rule]
		c.fail(ruleField(&c.cfg.Routes[at.route].Match[at.match], e.Field), "%w", e.Err)
	}
	return table, from
}

func ruleOf(m *config.Match) route.Rule {
	hosts := slices.Clone(m.Hosts)
	if m.Host != "" {
		hosts = append(hosts, m.Host)
	}
	rule := route.Rule{
		Hosts: hosts, Path: m.Path, Prefix: m.Prefix, PathRegex: m.PathRegex, Methods: m.Methods,
		Headers: valuesOf(m.Headers), Query: valuesOf(m.Query), Clients: m.Clients, Listeners: m.Listeners,
	}
	if g := m.GRPC; g != nil {
		rule.GRPC = &route.GRPC{Service: route.Name(g.Service), Method: route.Name(g.Method)}
	}
	return rule
}

func valuesOf(in map[string]config.Value) map[string]route.Value {
	out := make(map[string]route.Value, len(in))
	for name, v := range in {
		out[name] = route.Value(v)
	}
	return out
}

// ruleField is the setting that an error of the table is about.
func ruleField(m *config.Match, field string) any {
	name := field
	if end := strings.IndexAny(field, "[."); end > 0 {
		name = field[:end]
	}
	switch name {
	case "path":
		return &m.Path
	case "prefix":
		return &m.Prefix
	case "path_regex":
		return &m.PathRegex
	case "grpc":
		return &m.GRPC
	case "methods":
		return &m.Methods
	case "headers":
		return &m.Headers
	case "query":
		return &m.Query
	case "clients":
		return &m.Clients
	case "hosts":
		for i := range m.Hosts {
			if field == fmt.Sprintf("hosts[%d]", i) {
				return &m.Hosts[i]
			}
		}
		return &m.Host
	}
	return m
}

// matchFor is what a middleware may know of the match of its route. What the
// matches of one route do not agree about is not known.
func matchFor(r *config.Route) middleware.Match {
	var known middleware.Match
	for i := range r.Match {
		m := &r.Match[i]
		one := middleware.Match{Path: m.Path, Prefix: m.Prefix, Methods: m.Methods}
		switch {
		case m.GRPC != nil:
			one.Methods = []string{http.MethodPost}
		case m.Path+m.Prefix+m.PathRegex == "":
			one.Prefix = "/"
		}
		if i == 0 {
			known = one
			continue
		}
		if one.Path != known.Path {
			known.Path = ""
		}
		if one.Prefix != known.Prefix {
			known.Prefix = ""
		}
		known.Methods = eitherMethod(known.Methods, one.Methods)
	}
	return known
}

// eitherMethod are the methods of both; nil is all.
func eitherMethod(a, b []string) []string {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
