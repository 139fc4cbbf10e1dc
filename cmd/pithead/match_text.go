package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway/config"
)

// matchesText writes the matches of a route in one line.
func matchesText(all []config.Match) string {
	texts := make([]string, len(all))
	for i := range all {
		texts[i] = matchText(&all[i])
	}
	return strings.Join(texts, " | ")
}

func matchText(m *config.Match) string {
	var parts []string
	if len(m.Methods) > 0 {
		parts = append(parts, strings.Join(m.Methods, ","))
	}
	hosts := m.Hosts
	if m.Host != "" {
		hosts = append([]string{m.Host}, hosts...)
	}
	if m.GRPC != nil && len(hosts) > 0 {
		parts = append(parts, strings.Join(hosts, ",")) // the other forms begin with a slash or a tilde
		hosts = nil
	}
	parts = append(parts, strings.Join(hosts, ",")+pathText(m))
	parts = append(parts, conditionTexts("header ", m.Headers)...)
	parts = append(parts, conditionTexts("query ", m.Query)...)
	if len(m.Clients) > 0 {
		var networks []string
		for _, p := range m.Clients {
			networks = append(networks, p.String())
		}
		parts = append(parts, "client "+strings.Join(networks, ","))
	}
	if len(m.Listeners) > 0 {
		parts = append(parts, "listener "+strings.Join(m.Listeners, ","))
	}
	return strings.Join(parts, " ")
}

func pathText(m *config.Match) string {
	switch {
	case m.GRPC != nil:
		return "grpc " + m.GRPC.Service.String() + "/" + m.GRPC.Method.String()
	case m.Path != "":
		return m.Path
	case m.PathRegex != "":
		return "~" + m.PathRegex
	}
	return strings.TrimSuffix(m.Prefix, "/") + "/*"
}

// conditionTexts writes each condition: name, name=value, name=~regex, name!=value
// or !name.
func conditionTexts(mark string, values map[string]config.Value) (texts []string) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text := name
		switch v := values[name]; {
		case v.Regex != "":
			text += "=~" + v.Regex
		case v.Not != "":
			text += "!=" + v.Not
		case v.Absent:
			text = "!" + name
		case v.Exact != "":
			text += "=" + v.Exact
		}
		texts = append(texts, mark+text)
	}
	return texts
}
