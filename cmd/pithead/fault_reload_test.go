package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// mistake is a file that must not come into use; place is where its error is.
type mistake struct{ file, text, place string }

// TestFault23BadFiles: one mistake after the other is saved while requests go on. The
// configuration in use stays to the last byte, the operator is told the place, once for
// each, and no request notices.
func TestFault23BadFiles(t *testing.T) {
	t.Attr("wants", "0 failed of 500,000; the configuration in use the same to the byte; each mistake told with its place, logged once")
	rounds, requests := 4, int64(2000)
	if fullFaults() {
		rounds, requests = 150, 500_000
	}
	const listeners = "listeners: {web: {address: ADDRESS}}\n"
	g := newGateway(t, listeners)
	routes := fmt.Sprintf("upstreams: {u: {discover: {static: {targets: [%q]}}}}\nroutes:\n  - {name: r, match: {prefix: /}, to: u}\n", quickOrigin(t))
	g.save("routes.d/r.yaml", routes)
	g.run()
	mistakes := []mistake{
		{"routes.d/r.yaml", routes + "  - {name: [\n", "r.yaml:4:"},
		{"routes.d/r.yaml", routes + "    matches: {}\n", "r.yaml:4:5"},
		{"pithead.yaml", g.process(listeners) + "nonsense: 1\n", "pithead.yaml:7:1"},
		{"pithead.yaml", strings.Replace(g.process(listeners), "web: {", "web: {tls: {certificates: [{cert: gone.pem, key: gone.key}]}, ", 1), "pithead.yaml:6:"},
	}
	good := map[string]string{"routes.d/r.yaml": routes, "pithead.yaml": g.process(listeners)}
	load := startSteady(t, g.addr, 8)
	shown := g.config()
	for n := range rounds {
		m := mistakes[n%len(mistakes)]
		g.save(m.file, m.text)
		g.until("refused", func() bool { return g.scrape().sum("config_last_reload_successful", "") == 0 })
		if now := g.config(); !bytes.Equal(now, shown) {
			t.Fatalf("the configuration in use has become\n%s", now)
		}
		if status, err := g.client.Status(t.Context()); err != nil || !strings.Contains(status.LastReload.Error, m.place) || status.Generation != 1 {
			t.Fatalf("mistake %d: generation %d, %q, %v; want %s", n, status.Generation, status.LastReload.Error, err, m.place)
		}
		g.until("requests meanwhile", func() bool { return load.done.Load() >= requests*int64(n+1)/int64(rounds) })
		g.save(m.file, good[m.file])
		g.until("as before", func() bool { return g.scrape().sum("config_last_reload_successful", "") == 1 })
	}
	load.wantAllWell(t)
	if now := g.config(); !bytes.Equal(now, shown) {
		t.Errorf("the configuration in use has become\n%s", now)
	}
	if n := bytes.Count(g.logged(1<<30), []byte("configuration refused")); n != rounds {
		t.Errorf("%d mistakes, %d lines in the log", rounds, n)
	}
	t.Logf("%d files refused, each with its place, each logged once", rounds)
	g.scrape().want(t, "reloads_total", `result="failure"`, rounds)
	g.wantEnd(g.term())
}

// config is what the admin API shows of the configuration in use.
func (g *gatewayUnderLoad) config() []byte {
	g.t.Helper()
	text, err := g.client.Config(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}
