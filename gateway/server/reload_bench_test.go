package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/obs"
)

// estate is a configuration of many routes in files of a hundred, with an
// upstream for every ten of them. In each file are matches of all sorts.
type estate struct {
	dir    string
	routes int
}

const perFile = 100

func newEstate(tb testing.TB, routes int, address string) *estate {
	tb.Helper()
	e := &estate{tb.TempDir(), routes}
	e.write(tb, "pithead.yaml", `access_log: {output: "off"}
reload: {debounce: 250ms, poll: 10s}
listeners: {web: {address: "127.0.0.1:0"}}
shutdown: {delay: 0s, lame_duck: 100ms, grace: 5s}
include: ["routes.*.yaml"]
middleware: {tag: {headers: {request: {set: {X-Edge: "1"}}}}}
`)
	for first := 0; first < routes; first += perFile {
		e.write(tb, e.file(first), e.text(first, address, ""))
	}
	return e
}

func (e *estate) path() string { return filepath.Join(e.dir, "pithead.yaml") }

func (e *estate) file(first int) string { return fmt.Sprintf("routes.%05d.yaml", first) }

func (e *estate) write(tb testing.TB, name, text string) {
	tb.Helper()
	temporary := filepath.Join(e.dir, ".new")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(e.dir, name)); err != nil {
		tb.Fatal(err)
	}
}

// text is one file of routes; more is a setting of its first one.
func (e *estate) text(first int, address, more string) string {
	var b strings.Builder
	b.WriteString("upstreams:\n")
	for i := first; i < min(first+perFile, e.routes); i += 10 {
		fmt.Fprintf(&b, "  u%d: {discover: {static: {targets: [%q]}}}\n", i, address)
	}
	b.WriteString("routes:\n")
	for i := first; i < min(first+perFile, e.routes); i++ {
		match := fmt.Sprintf("host: h%d.example.com, prefix: /", i)
		switch i % 10 {
		case 3:
			match = fmt.Sprintf("path: \"/r%d/{id}\"", i)
		case 6:
			match = fmt.Sprintf("prefix: /r%d, methods: [GET, POST]", i)
		}
		fmt.Fprintf(&b, "  - name: r%d\n    match: {%s}\n    use: [tag]\n    to: u%d\n", i, match, i-i%10)
		if i == first && more != "" {
			b.WriteString("    " + more + "\n")
		}
	}
	return b.String()
}

// unserved is a server that is loaded and not run.
func unserved(tb testing.TB, e *estate) *Server {
	tb.Helper()
	s := New(Options{Path: e.path(), Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.DiscardHandler)})
	tb.Cleanup(func() {
		s.abandon()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	if err := s.load(tb.Context(), TriggerStart, s.read()); err != nil {
		tb.Fatal(err)
	}
	return s
}

// BenchmarkReload is a change of one route, from the reading of the files to the
// swap.
func BenchmarkReload(b *testing.B) {
	for _, routes := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) {
			e := newEstate(b, routes, "127.0.0.1:9")
			s := unserved(b, e)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				e.write(b, e.file(0), e.text(0, "127.0.0.1:9", fmt.Sprintf("timeout: %dms", n)))
				if err := s.load(b.Context(), TriggerAdmin, s.read()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkColdLoad is the first load, from reading to a compiled snapshot.
func BenchmarkColdLoad(b *testing.B) {
	for _, routes := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) {
			e := newEstate(b, routes, "127.0.0.1:9")
			s := New(Options{Metrics: obs.NewMetrics(obs.Build{}), Log: slog.New(slog.DiscardHandler)})
			b.ReportAllocs()
			for b.Loop() {
				c, err := config.Load(e.path())
				if err != nil {
					b.Fatal(err)
				}
				snap, err := build.Compile(c, s.buildEnv())
				if err != nil {
					b.Fatal(err)
				}
				if err := snap.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
