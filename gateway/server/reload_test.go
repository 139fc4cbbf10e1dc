package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestFault23BadFileKeepsTheOldOne(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	load := startLoad(t, h.addr(), 4, func(string) error { return nil })
	shown := string(h.current.Load().config.Redacted())
	f := func(text, want string) {
		t.Helper()
		err := h.edit(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Reload: %v, want %q", err, want)
		}
		st := h.Status()
		if st.Generation != 1 || st.Err == nil || st.Err.Error() != err.Error() {
			t.Errorf("status %+v", st)
		}
		h.wantGet("hello")
		if now := string(h.current.Load().config.Redacted()); now != shown {
			t.Errorf("the configuration that is shown changed to %s", now)
		}
		h.wantMetric("pithead_config_last_reload_successful 0")
	}
	f("routes: [\n", "pithead.yaml:")
	f(settings(1, web+"nonsense: 1\n"), "pithead.yaml:7:1")
	f(settings(1, web+ending+"admin: {address: \"127.0.0.1:1\"}\n"), "until a restart")
	if err := h.edit(settings(2, web+ending)); err != nil {
		t.Fatal(err)
	}
	if st := h.Status(); st.Generation != 2 || st.Err != nil || st.Routes != 2 {
		t.Errorf("status %+v", st)
	}
	h.wantMetric("pithead_config_last_reload_successful 1")
	load.finish(t)
}

// TestFault23MissingCertificate is found by the build, behind the parser.
func TestFault23MissingCertificate(t *testing.T) {
	h, dir := secure(t, say("hello"))
	rename(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "gone.pem"))
	if _, err := h.Reload(t.Context(), TriggerAdmin); err == nil || !strings.Contains(err.Error(), "pithead.yaml:6:") {
		t.Errorf("Reload: %v", err)
	}
	if _, err := h.handshake(nil); err != nil || h.Status().Generation != 1 {
		t.Errorf("generation %d: %v", h.Status().Generation, err)
	}
}

func TestFault23WatcherReportsOnce(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	put(t, h.path, "routes: [\n")
	h.log.wait(t, "configuration refused", 1)
	put(t, h.path, settings(1, web+ending))
	h.log.wait(t, "configuration is as before", 1)
	if n, _ := h.log.count("configuration refused"); n != 1 {
		t.Errorf("refused %d times", n)
	}
	if st := h.Status(); st.Generation != 1 || st.Err != nil {
		t.Errorf("status %+v", st)
	}
}

// A file that is taken back is what is in use, also if it named files meanwhile that
// are looked for since then.
func TestFault23TakenBack(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello"))
	h.compile = h.compileReal
	h.open()
	named := strings.Replace(web, "web: {", "web: {tls: {certificates: [{cert: gone.pem, key: gone.pem}]}, ", 1)
	for n := range 3 {
		put(t, h.path, settings(1, named+ending))
		h.log.wait(t, "configuration refused", n+1)
		put(t, h.path, settings(1, web+ending))
		h.log.wait(t, "configuration is as before", n+1)
	}
	if st := h.Status(); st.Generation != 1 || st.Err != nil {
		t.Errorf("status %+v", st)
	}
}

func TestFault24ShrinkGuard(t *testing.T) {
	h := prepare(t, settings(30, web+ending), say("hello")).open()
	put(t, h.path, settings(20, web+ending))
	h.log.wait(t, "10 of 30 routes would be gone", 1)
	if st := h.Status(); st.Generation != 1 || st.Err == nil {
		t.Errorf("status %+v", st)
	}
	if _, err := h.Reload(t.Context(), TriggerSignal); err != nil {
		t.Errorf("an explicit reload: %v", err)
	}
	put(t, h.path, settings(14, web+ending)) // 30 % are allowed
	h.log.wait(t, "generation=3 routes=14", 1)
	put(t, h.path, settings(1, web+ending)) // fewer than 20 may go at once
	h.log.wait(t, "generation=4 routes=1", 1)
}

func TestFault24AllowShrink(t *testing.T) {
	h := prepare(t, settings(30, web+ending), say("hello")).open()
	put(t, h.path, strings.Replace(settings(2, web+ending), "reload: {", "reload: {allow_shrink: true, ", 1))
	h.log.wait(t, "generation=2 routes=2", 1)
}

func TestFault27NoNotices(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello"))
	h.fsnotify = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
	h.open()
	put(t, h.path, settings(2, web+ending))
	h.log.wait(t, "generation=2 routes=2", 1)
	if n, _ := h.log.count("no notice of changed files"); n != 1 {
		t.Errorf("said so %d times", n)
	}
}

func TestFault28GoneFile(t *testing.T) {
	ways := map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) { rename(t, path, path+".gone") },
		"replaced by a folder": func(t *testing.T, path string) {
			rename(t, path, path+".gone")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			h := prepare(t, settings(1, web+ending), say("hello")).open()
			way(t, h.path)
			h.log.wait(t, "configuration refused", 1)
			h.wantGet("hello")
			if err := os.RemoveAll(h.path); err != nil {
				t.Fatal(err)
			}
			rename(t, h.path+".gone", h.path)
			h.log.wait(t, "configuration is as before", 1)
		})
	}
}

// TestFault29ReloadsUnderLoad also proves that a request is served by one
// generation: the handler tells which, before and after a pause.
func TestFault29ReloadsUnderLoad(t *testing.T) {
	h := prepare(t, settings(1, web+patientEnding), nil)
	var generation atomic.Int32
	numbered := func() {
		n := generation.Add(1)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.serve = func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%d", n)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, " %d", n)
		}
	}
	numbered()
	h.open()
	load := startLoad(t, h.addr(), 8, func(body string) error {
		first, second, ok := strings.Cut(body, " ")
		if !ok || first != second {
			return fmt.Errorf("served by generations %q", body)
		}
		return nil
	})
	for i := range 40 {
		numbered()
		// The address stays; the settings change, so each reload moves the
		// socket to a new http.Server.
		text := fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\", timeouts: {header: %ds}}}\n", 5+i)
		if err := h.edit(settings(1, text+patientEnding)); err != nil {
			t.Fatal(err)
		}
	}
	load.finish(t)
	for i, snap := range h.snapshots[:len(h.snapshots)-1] {
		late := time.After(patience)
		for snap.state.Load() != closed {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-late:
				t.Fatalf("snapshot %d was not closed", i)
			}
		}
	}
}

func TestFault30StreamsFinishOnTheOldGeneration(t *testing.T) {
	release := make(chan struct{})
	h := prepare(t, settings(1, web+ending), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			_, _ = io.WriteString(w, "old")
			return
		}
		_, _ = io.WriteString(w, "begin ")
		_ = http.NewResponseController(w).Flush()
		<-release
		_, _ = io.WriteString(w, "end")
	}).open()
	resp, err := http.Get("http://" + h.addr() + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.mu.Lock()
	h.serve = say("new")
	h.mu.Unlock()
	if err := h.edit(settings(1, web+ending)); err != nil {
		t.Fatal(err)
	}
	h.wantGet("new")
	if got := h.snapshots[0].state.Load(); got != started {
		t.Errorf("the old snapshot has state %d while it is used", got)
	}
	close(release)
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "begin end" {
		t.Errorf("stream: %q, %v", body, err)
	}
}

// TestNewFoldersAreWatched: polling is too slow here to find the changes.
func TestNewFoldersAreWatched(t *testing.T) {
	seldom := func(s string) string { return strings.Replace(s, "poll: 100ms", "poll: 10m", 1) }
	h := prepare(t, seldom(settings(1, web+ending)), say("hello")).open()
	dir := filepath.Join(filepath.Dir(h.path), "routes.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.edit(seldom(settings(1, web+ending+"include: [routes.d/*.yaml]\n"))); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "a.yaml"), "routes: [{name: a, match: {path: /a}, to: u}]\n")
	h.log.wait(t, "routes=2", 1)
	put(t, filepath.Join(dir, "a.yaml"), "routes: [{name: a, match: {path: /a}, to: u}, {name: b, match: {path: /b}, to: u}]\n")
	h.log.wait(t, "routes=3", 1)
	if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
		t.Fatal(err)
	}
	h.log.wait(t, "routes=1", 2)
}

func TestFault31ManyReloadsAtOnce(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	var all sync.WaitGroup
	for i := range 100 {
		put(t, h.path+".new", settings(i%7+1, web+ending))
		rename(t, h.path+".new", h.path)
		all.Go(func() {
			if _, err := h.Reload(context.Background(), TriggerSignal); err != nil {
				t.Errorf("reload: %v", err)
			}
		})
	}
	all.Wait()
	st := h.Status()
	if st.Routes != 99%7+1 {
		t.Errorf("%d routes, want those of the last content", st.Routes)
	}
	if st.Generation < 2 || st.Generation > 101 {
		t.Errorf("generation %d", st.Generation)
	}
}

func TestReloadListeners(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	addr := h.addr()
	keep, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer keep.Close()
	replies := bufio.NewReader(keep)
	ask := func() *http.Response {
		t.Helper()
		if _, err := io.WriteString(keep, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp
	}
	if ask().Close {
		t.Error("closed at the first answer")
	}
	slow := "shutdown: {lame_duck: 20s}\n"
	if err := h.edit(settings(1, web+slow+"trusted_proxies: [10.0.0.0/8]\n")); err != nil {
		t.Fatal(err)
	}
	if ask().Close {
		t.Error("a reload that leaves the listener alone ended its connection")
	}
	changed := "listeners: {web: {address: \"127.0.0.1:0\", limits: {connections: 7}}}\n"
	if err := h.edit(settings(1, changed+slow)); err != nil {
		t.Fatal(err)
	}
	if h.addr() != addr {
		t.Errorf("the socket moved from %s to %s", addr, h.addr())
	}
	if !ask().Close {
		t.Error("the connection of the old settings was not told to go")
	}
	h.wantGet("hello")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	two := fmt.Sprintf("listeners: {web: {address: \"127.0.0.1:0\"}, other: {address: %q}}\n", taken.Addr())
	if err := h.edit(settings(1, two+slow)); err == nil || !strings.Contains(err.Error(), "pithead.yaml:") {
		t.Errorf("an address in use: %v", err)
	}
	h.wantGet("hello")
}

func TestReloadRemovesAListener(t *testing.T) {
	h := prepare(t, settings(1, web+ending), say("hello")).open()
	addr := h.addr()
	if err := h.edit(settings(1, "listeners: {web: {address: \"localhost:0\"}}\n"+ending)); err != nil {
		t.Fatal(err)
	}
	h.wantGet("hello")
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("the old address still answers")
	}
}
