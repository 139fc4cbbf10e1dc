package server

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
)

// compileReal is the build of whoever runs the gateway.
func (h *house) compileReal(c *config.Config) (snapshot, error) {
	snap, err := build.Compile(c, build.Env{Pool: h.pool, Log: h.Server.log, Metrics: h.metrics})
	if err != nil {
		return nil, err
	}
	return snap, nil
}

// street are houses side by side, whose files change again and again. The time that
// a watcher waits for quiet passes for all of them at once.
type street struct {
	houses, changes int
	reload          string // settings of reload
	deaf            bool   // the system gives no notice of changes
	limit           time.Duration
	// place makes version n of the configuration what lies in dir.
	place func(dir string, n int, text string) error
}

// text is a configuration that says its number to everybody who asks.
func (s *street) text(n int) string {
	return fmt.Sprintf("access_log: {output: \"off\"}\nreload: {%s}\nroutes: [{name: r, match: {prefix: /}, use: [{respond: {body: \"%d\"}}]}]\n", s.reload, n) + web + ending
}

func (s *street) test(t *testing.T) {
	t.Helper()
	houses := make([]*house, s.houses)
	for i := range houses {
		dir := t.TempDir()
		if err := s.place(dir, 1, s.text(1)); err != nil {
			t.Fatal(err)
		}
		h := prepare(t, "", nil)
		h.path = filepath.Join(dir, "pithead.yaml")
		h.opt.Path, h.compile = h.path, h.compileReal
		if s.deaf {
			h.fsnotify = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
		}
		houses[i] = h.open()
	}
	took := make([]times, s.houses)
	var all sync.WaitGroup
	for i, h := range houses {
		all.Go(func() {
			for n := 2; n < 2+s.changes; n++ {
				begin := time.Now()
				err := s.place(filepath.Dir(h.path), n, s.text(n))
				if err == nil {
					err = h.serves(fmt.Sprint(n))
				}
				if err != nil {
					t.Errorf("change %d: %v", n, err)
					return
				}
				took[i].add(time.Since(begin))
			}
		})
	}
	all.Wait()
	wantTimely(t, took, s.houses*s.changes, s.limit)
	for _, h := range houses {
		h.log.wait(t, fmt.Sprintf("generation=%d ", 1+s.changes), 1) // what serves is said a moment later
		if got := h.Status().Generation; got != uint64(1+s.changes) {
			t.Errorf("generation %d after %d changes", got, s.changes)
		}
	}
}

// times are how long something took, again and again.
type times []time.Duration

func (d *times) add(took time.Duration) { *d = append(*d, took) }

// wantTimely says how many changes of how many came into use, and after what time.
func wantTimely(t *testing.T, took []times, changes int, limit time.Duration) {
	t.Helper()
	var slowest time.Duration
	applied := 0
	for _, some := range took {
		for _, d := range some {
			slowest = max(slowest, d)
			applied++
		}
	}
	t.Logf("%d of %d applied, the slowest after %s", applied, changes, slowest.Round(time.Millisecond))
	if applied != changes || slowest > limit {
		t.Errorf("want all of them after %s at most", limit)
	}
}

// serves waits until requests get an answer.
func (h *house) serves(want string) error {
	c := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer c.CloseIdleConnections()
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body, err := fetch(c, "http://"+h.addr()+"/")
		switch {
		case err != nil:
			return err
		case status != http.StatusOK:
			return fmt.Errorf("status %d", status)
		case body == want:
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("%q is served, not %q", body, want)
		}
	}
}

// quietly are the settings of a watcher: in full length those of a configuration
// that says nothing, else faster ones.
func quietly() string {
	if often(0, 1) == 1 {
		return ""
	}
	return "debounce: 20ms"
}

// TestFault25Renames: an editor that is careful, or a tool that deploys, puts a new file
// in the place of the old one.
func TestFault25Renames(t *testing.T) {
	t.Attr("wants", "1,000 of 1,000 applied, each after 1 s at most")
	s := &street{houses: often(2, 10), changes: often(5, 100), reload: quietly(), limit: within(time.Second)}
	s.place = func(dir string, _ int, text string) error {
		path := filepath.Join(dir, "pithead.yaml")
		return errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
	}
	s.test(t)
}

// mount changes a folder as the kubelet changes the mount of a ConfigMap: a new folder of
// files, the link ..data that is renamed over the old one, and the old folder removed.
func mount(dir string, n int, text string) error {
	name := fmt.Sprintf("..%d", n)
	errs := []error{
		os.Mkdir(filepath.Join(dir, name), 0o700),
		os.WriteFile(filepath.Join(dir, name, "pithead.yaml"), []byte(text), 0o600),
		os.Symlink(name, filepath.Join(dir, "..tmp")),
		os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")),
	}
	if n == 1 {
		return errors.Join(append(errs, os.Symlink("..data/pithead.yaml", filepath.Join(dir, "pithead.yaml")))...)
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", n-1))))...)
}

func TestFault26ConfigMapSwaps(t *testing.T) {
	t.Attr("wants", "200 of 200 applied, each after 2 s at most; without notices after 15 s")
	t.Run("fault 26: with notices", func(t *testing.T) {
		s := &street{houses: often(2, 4), changes: often(3, 50), reload: quietly(), limit: within(2 * time.Second), place: mount}
		s.test(t)
	})
	t.Run("fault 26: by looking every ten seconds", func(t *testing.T) {
		s := &street{houses: often(2, 20), changes: often(2, 3), deaf: true, limit: 15 * time.Second, place: mount}
		if s.houses == 2 { // nobody waits ten seconds for a change of the code
			s.reload = "debounce: 20ms, poll: 100ms"
		}
		s.test(t)
	})
}
