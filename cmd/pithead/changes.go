package main

import (
	"fmt"
	"strings"

	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/server"
)

// historyView are the last generations as the admin API shows them.
func historyView(s *server.Server) []admin.Generation {
	var all []admin.Generation
	for _, g := range s.Generations() {
		all = append(all, admin.Generation{
			Number: g.Number, LoadedAt: g.Loaded, Trigger: g.Trigger, Routes: g.Routes, Changes: changesView(&g.Changes),
		})
	}
	return all
}

// changesOf are what a generation changed.
func changesOf(s *server.Server, number uint64) admin.Changes {
	for _, g := range s.Generations() {
		if g.Number == number {
			return changesView(&g.Changes)
		}
	}
	return admin.Changes{}
}

func changesView(c *config.Changes) admin.Changes {
	return admin.Changes{
		Routes: admin.Change(c.Routes), Upstreams: admin.Change(c.Upstreams), Middleware: admin.Change(c.Middleware),
		Listeners: admin.Change(c.Listeners), Files: admin.Change(c.Files), Settings: c.Settings, RouteOrder: c.Order,
	}
}

// changesText tells changes to somebody who has just made them, behind a colon.
func changesText(c *admin.Changes) string {
	var lines []string
	for _, sort := range []struct {
		name   string
		change admin.Change
	}{
		{"routes", c.Routes},
		{"upstreams", c.Upstreams},
		{"middleware", c.Middleware},
		{"listeners", c.Listeners},
		{"files", c.Files},
	} {
		var parts []string
		for _, part := range []struct {
			verb  string
			names []string
		}{{"added", sort.change.Added}, {"removed", sort.change.Removed}, {"changed", sort.change.Changed}} {
			if len(part.names) > 0 {
				parts = append(parts, part.verb+" "+nameSome(part.names))
			}
		}
		if len(parts) > 0 {
			lines = append(lines, sort.name+": "+strings.Join(parts, "; "))
		}
	}
	if len(c.Settings) > 0 {
		lines = append(lines, "settings: "+nameSome(c.Settings))
	}
	if c.RouteOrder {
		lines = append(lines, "routes stand in another order")
	}
	if len(lines) == 0 {
		return " nothing has changed"
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// nameSome names the first few.
func nameSome(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
