package build

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// What the file says of balancing is what requests meet.
func TestBalancing(t *testing.T) {
	p := newProcess(t)
	var targets []string
	for _, zone := range []string{"a", "a", "b", "b"} {
		addr, _ := backend(t, zone)
		targets = append(targets, `{address: "`+addr+`", zone: `+zone+`}`)
	}
	snap := p.start(lines(`upstreams:`,
		`  near:`, `    discover: {static: {targets: [`+strings.Join(targets, ", ")+`]}}`, `    zone: {prefer: b}`,
		`  keyed:`, `    discover: {static: {targets: [`+strings.Join(targets, ", ")+`]}}`,
		`    balance: {consistent_hash: {key: "header:x-user"}}`,
		`routes:`, `- {match: {prefix: /near}, to: near}`, `- {match: {prefix: /keyed}, to: keyed}`))
	web := p.serve(snap, "web")
	endpoints := func(path string, header func(int) string) map[string]bool {
		seen := make(map[string]bool)
		for i := range 40 {
			got := web.ask(t, "GET "+path+"\n"+header(i))
			if got.status != http.StatusOK {
				t.Fatalf("%s: status %d", path, got.status)
			}
			seen[got.x.Endpoint.Addr] = true
		}
		return seen
	}
	if got := endpoints("/near", func(int) string { return "X-User: ann" }); len(got) != 2 {
		t.Errorf("of two endpoints in the zone and two others, %d got requests", len(got))
	}
	if got := endpoints("/keyed", func(int) string { return "X-User: ann" }); len(got) != 1 {
		t.Errorf("one user met %d endpoints", len(got))
	}
	if got := endpoints("/keyed", func(i int) string { return fmt.Sprint("X-User: user", i) }); len(got) != 4 {
		t.Errorf("forty users met %d of 4 endpoints", len(got))
	}
}
