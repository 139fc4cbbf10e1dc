package build

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/discovery/discoverytest"
)

// A reload changes the registration when its settings have changed, and leaves
// the endpoints of the upstreams alone even then.
func TestRegistrationIsKept(t *testing.T) {
	fake := discoverytest.NewConsul()
	defer fake.Close()
	fake.Register(discoverytest.Instance{Service: "orders", Address: "127.0.0.1", Port: 9000})
	p := newProcess(t)
	text := func(register, more string) string {
		return lines(`listeners: {web: {address: ":8080"}}`, `consul: {address: "`+fake.URL+`"`+register+`}`,
			`upstreams: {orders: {discover: {consul: {service: orders}}}}`, `routes: [{match: {prefix: /`+more+`}, to: orders}]`)
	}
	one := p.start(text(`, register: {tags: [a]}`, ""))
	p.waitFilled(one)
	queries := len(fake.Calls())
	again := p.start(text(`, register: {tags: [a]}`, "other"))
	if one.Registration() == nil || again.Registration() != one.Registration() {
		t.Error("a reload that does not touch it made another registration")
	}
	changed := p.start(text(`, register: {tags: [b]}`, ""))
	if changed.Registration() == nil || changed.Registration() == one.Registration() {
		t.Error("the changed registration is not another one")
	}
	none := p.start(text("", ""))
	if none.Registration() != nil {
		t.Error("a registration that is gone is still there")
	}
	for _, snap := range []*Snapshot{again, changed, none} {
		if snap.Clusters()[0] != one.Clusters()[0] {
			t.Error("a change of the registration made the upstream anew")
		}
	}
	if n := len(fake.Calls()); n > queries+1 { // a blocking query may have followed the first one
		t.Errorf("reloads asked Consul %d times more", n-queries)
	}
}

func TestMistakesOfRegistration(t *testing.T) {
	p := newProcess(t)
	f := func(consul, listeners, discover, want string) {
		t.Helper()
		got := strings.Join(p.mistakes(lines(`listeners: `+listeners, `consul: `+consul,
			`upstreams: {a: {discover: `+discover+`}}`, `routes: [{match: {prefix: /}, to: a}]`)), "; ")
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", consul, got, want)
		}
	}
	const (
		web, static = `{web: {address: ":80"}}`, `{static: {targets: ["10.0.0.1:80"]}}`
		two         = `{web: {address: ":80"}, other: {address: ":81"}}`
	)
	f(`{register: {}}`, web, static, "")
	f(`{register: {}}`, `{web: {address: "10.0.0.1:80"}, other: {address: "10.0.0.2:80"}, local: {address: "unix:/run/p.sock"}}`, static, "")
	f(`{register: {port: 80}}`, two, static, "")
	f(`{register: {}}`, two, static, "2:10: port: is required: there is not exactly one listener with a port of its own")
	f(`{register: {ttl: 1s}}`, web, static, "2:26: must be 3s to 1h, not 1s")
	f(`{register: {tll: 1s}}`, web, static, `2:21: register: unknown key "tll" (did you mean "ttl"?)`)
	f(`{address: x, register: {}}`, web, static, "2:19: must look like http://127.0.0.1:8500")
	f(`{token_file: none}`, web, `{consul: {service: a}}`, "2:22: stat "+filepath.Join(filepath.Dir(p.name), "none")+": no such file or directory")
	f(`{}`, web, `{consul: {service: a, register: {}}}`, "3:49: is about the gateway itself; write it below consul: in the process file")
}
