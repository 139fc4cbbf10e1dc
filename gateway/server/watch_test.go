package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pithead/pithead/gateway/config"
)

// disk is a file under the eyes of a watchLoop, in the time of a synctest bubble.
type disk struct {
	mu      sync.Mutex
	text    string
	notices chan struct{}
	moved   chan struct{}
	last    [32]byte
	applied []string
	reload  config.Reload
}

func (d *disk) set(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = text
}

// write is a change that the system gives notice of.
func (d *disk) write(text string) {
	d.set(text)
	select {
	case d.notices <- struct{}{}:
	default:
	}
}

func (d *disk) read() *reading {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.text == "" {
		err := errors.New("no such file")
		return &reading{err: err, sum: sha256.Sum256([]byte(err.Error()))}
	}
	return &reading{sum: sha256.Sum256([]byte(d.text))}
}

func (d *disk) seen(sum [32]byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return sum == d.last
}

func (d *disk) apply(r *reading) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.applied = r.sum, append(d.applied, d.text)
}

func (d *disk) settings() config.Reload {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reload
}

// onDisk runs f beside a loop that watches a disk holding "good", which is in use.
func onDisk(t *testing.T, f func(d *disk)) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{
			text: "good", notices: make(chan struct{}, 1), moved: make(chan struct{}), last: sha256.Sum256([]byte("good")),
			reload: config.Reload{Watch: true, Debounce: 250 * time.Millisecond, Poll: 10 * time.Second},
		}
		loop := &watchLoop{
			notices: d.notices, moved: d.moved, read: d.read,
			seen: d.seen, reload: d.apply, settle: d.settings,
		}
		ctx, cancel := context.WithCancel(t.Context())
		go loop.run(ctx)
		pass(time.Second)
		f(d)
		cancel()
		synctest.Wait()
	})
}

// pass lets time go by in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (d *disk) want(t *testing.T, applied ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.applied, applied) {
		t.Fatalf("applied %q, want %q", d.applied, applied)
	}
}

func TestWatchLoop(t *testing.T) {
	t.Run("fault 24: a slow writer", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			text := ""
			for range 1000 { // 50 s, longer than any patience with unrest
				text += "."
				d.write(text)
				pass(50 * time.Millisecond)
			}
			d.want(t)
			pass(time.Second)
			d.want(t, text)
		})
	})
	t.Run("fault 24: a writer that pauses a little longer than the debounce", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			text := ""
			for range 8 {
				text += "."
				d.write(text)
				pass(300 * time.Millisecond)
			}
			d.want(t)
			pass(time.Second)
			d.want(t, text)
		})
	})
	t.Run("a write into a new folder before it is watched", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.set("new") // no notice: nobody looks at that folder yet
			d.moved <- struct{}{}
			pass(900 * time.Millisecond)
			d.want(t, "new")
		})
	})
	t.Run("fault 25: one rename is applied once and within a second", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.write("new")
			pass(900 * time.Millisecond)
			d.want(t, "new")
			pass(time.Minute)
			d.want(t, "new")
		})
	})
	t.Run("fault 27: without notices the poll finds it", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.set("new")
			pass(15 * time.Second)
			d.want(t, "new")
		})
	})
	t.Run("fault 28: a deleted file is reported once, and taken back", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.write("")
			pass(time.Minute)
			d.want(t, "")
			d.write("good")
			pass(time.Minute)
			d.want(t, "", "good")
		})
	})
	t.Run("an editor that deletes and writes again", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.write("")
			pass(10 * time.Millisecond)
			d.write("good")
			pass(time.Minute)
			d.want(t)
		})
	})
	t.Run("a log in the same folder does not hide a change", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.set("new")
			for range 100 {
				d.write("new")
				pass(100 * time.Millisecond)
			}
			d.want(t, "new")
		})
	})
	t.Run("watch: false", func(t *testing.T) {
		onDisk(t, func(d *disk) {
			d.mu.Lock()
			d.reload.Watch = false
			d.mu.Unlock()
			pass(20 * time.Second) // the loop learns it at a poll
			d.write("new")
			pass(time.Minute)
			d.want(t)
		})
	})
}

// TestNotices uses the real file system: whatever way a file changes, a notice
// comes.
func TestNotices(t *testing.T) {
	ways := map[string]func(t *testing.T, dir string){
		"fault 24: write": func(t *testing.T, dir string) { put(t, filepath.Join(dir, "a.yaml"), "x") },
		"fault 25: rename": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, ".new"), "x")
			rename(t, filepath.Join(dir, ".new"), filepath.Join(dir, "a.yaml"))
		},
		"fault 26: ..data swap": func(t *testing.T, dir string) {
			symlink(t, "..2", filepath.Join(dir, "..tmp"))
			rename(t, filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))
		},
		"fault 28: remove": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "a.yaml")); err != nil {
				t.Fatal(err)
			}
		},
		"fault 28: chmod": func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "a.yaml"), 0); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "a.yaml"), "a")
			n := newNotices(fsnotify.NewWatcher)
			defer n.close()
			if n.err != nil {
				t.Fatal(n.err)
			}
			if err := n.follow([]string{dir}); err != nil {
				t.Fatal(err)
			}
			change(t, dir)
			select {
			case <-n.events:
			case <-time.After(10 * time.Second):
				t.Fatal("no notice")
			}
		})
	}
}

func TestNoticesSayOnceThatAFolderIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	n := newNotices(fsnotify.NewWatcher)
	defer n.close()
	if err := n.follow([]string{dir}); err == nil {
		t.Error("first time: no error")
	}
	if err := n.follow([]string{dir}); err != nil {
		t.Errorf("second time: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := n.follow([]string{dir}); err != nil {
		t.Errorf("when it is there: %v", err)
	}
	put(t, filepath.Join(dir, "a.yaml"), "a")
	select {
	case <-n.events:
	case <-time.After(10 * time.Second):
		t.Fatal("no notice")
	}
}

func put(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}
