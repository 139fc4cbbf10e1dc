package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pithead/pithead/gateway/config"
)

// reading is the configuration as it lies on disk, with all that it refers to.
type reading struct {
	files *config.Files
	err   error    // the files could not be read
	sum   [32]byte // equal for equal readings, errors included
}

// watched is what the watcher looks at and what has become of it.
type watched struct {
	mu      sync.Mutex
	files   *config.Files // of the last reading
	dirs    []string
	second  []string // certificates and the like, see secondFiles
	inUse   [32]byte // sum of the generation in use
	used    []string // what second is for it
	last    [32]byte // sum of the last load, refused or not
	changed chan struct{}
}

// read takes a reading of all files. It builds on the one before, so that files
// which have not changed need not be parsed again.
func (s *Server) read() *reading {
	s.watched.mu.Lock()
	before, second := s.watched.files, s.watched.second
	s.watched.mu.Unlock()
	files, err := before.Reread(s.opt.Path)
	if err != nil {
		return &reading{err: err, sum: sha256.Sum256([]byte("error: " + err.Error()))}
	}
	s.watched.mu.Lock()
	s.watched.files = files
	s.watched.mu.Unlock()
	return &reading{files: files, sum: sumOf(files, second)}
}

// maxSecond bounds what is read of a certificate file.
const maxSecond = 8 << 20

func sumOf(files *config.Files, second []string) [32]byte {
	h := sha256.New()
	first := files.Sum()
	_, _ = h.Write(first[:]) // a hash takes everything
	for _, path := range second {
		part := sumOfFile(path)
		_, _ = h.Write(part[:])
	}
	return [32]byte(h.Sum(nil))
}

func sumOfFile(path string) [32]byte {
	text, err := readBounded(path)
	if err != nil {
		text = []byte("error: " + err.Error())
	}
	return sha256.Sum256(text)
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > maxSecond:
		return nil, errors.New("no regular file of a sensible size")
	}
	return os.ReadFile(path)
}

// back says whether r is what is in use. If so, whatever a load looked for that was
// refused since then is forgotten: what counts is again what is in use.
func (w *watched) back(r *reading) bool {
	w.mu.Lock()
	inUse, used := w.inUse, w.used
	w.mu.Unlock()
	if r.err != nil || sumOf(r.files, used) != inUse {
		return false
	}
	w.use(inUse, r.files, used)
	return true
}

// seen says whether sum has been loaded, or refused, last.
func (w *watched) seen(sum [32]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sum == w.last
}

func (w *watched) tried(sum [32]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = sum
}

// follow makes the watcher look at all that a configuration refers to, before
// it is known whether it will do: a certificate that is missing now must be
// noticed when it comes. current is what the one in use refers to. It returns
// the sum that the configuration will have in use.
func (w *watched) follow(files *config.Files, next, current []string) [32]byte {
	both := slices.Concat(next, current)
	slices.Sort(both)
	both = slices.Compact(both)
	w.look(files, both, sumOf(files, both), nil)
	return sumOf(files, next)
}

// use notes that a configuration has come into use.
func (w *watched) use(sum [32]byte, files *config.Files, second []string) {
	w.look(files, second, sum, &sum)
}

func (w *watched) look(files *config.Files, second []string, last [32]byte, inUse *[32]byte) {
	dirs := files.Dirs()
	for _, path := range second {
		dirs = append(dirs, filepath.Dir(path))
	}
	slices.Sort(dirs)
	w.mu.Lock()
	w.dirs, w.second, w.last = slices.Compact(dirs), second, last
	if inUse != nil {
		w.inUse, w.used = *inUse, second
	}
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// watch reloads when files change, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	n := newNotices(s.fsnotify)
	if n.err != nil {
		s.log.Warn("the system gives no notice of changed files, they are only read now and then", "error", n.err)
	}
	defer n.close()
	loop := &watchLoop{
		notices: n.events, moved: s.watched.changed,
		read: s.read, seen: s.watched.seen,
		reload: func(r *reading) { _ = s.reloads.ask(ctx, TriggerFile, r) }, // reported by load
		settle: func() config.Reload {
			s.watched.mu.Lock()
			dirs := s.watched.dirs
			s.watched.mu.Unlock()
			if err := n.follow(dirs); err != nil {
				s.log.Warn("a folder gives no notice of changed files, it is only read now and then", "error", err)
			}
			return s.current.Load().config.Reload
		},
	}
	loop.run(ctx)
}

// notices are the file system's: something in a watched folder has changed.
// Folders are watched and not files, because a file that is replaced by a
// rename takes its watch away with it.
type notices struct {
	events  chan struct{}
	watcher *fsnotify.Watcher
	err     error
	failed  map[string]bool // folders that could not be watched, to say so once
	done    sync.WaitGroup
}

func newNotices(open func() (*fsnotify.Watcher, error)) *notices {
	n := &notices{events: make(chan struct{}, 1), failed: make(map[string]bool)}
	if n.watcher, n.err = open(); n.err == nil {
		n.done.Go(n.forward)
	}
	return n
}

// forward folds events. What has changed does not matter, and after an
// overflow of the kernel's queue it is not known.
func (n *notices) forward() {
	for {
		select {
		case _, ok := <-n.watcher.Events:
			if !ok {
				return
			}
		case _, ok := <-n.watcher.Errors:
			if !ok {
				return
			}
		}
		select {
		case n.events <- struct{}{}:
		default:
		}
	}
}

// follow watches exactly dirs. It reports a folder that cannot be watched once,
// until it can.
func (n *notices) follow(dirs []string) error {
	if n.watcher == nil {
		return nil
	}
	for _, old := range n.watcher.WatchList() {
		if !slices.Contains(dirs, old) {
			_ = n.watcher.Remove(old) // it is gone already
		}
	}
	var errs []error
	for _, dir := range dirs {
		err := n.watcher.Add(dir)
		if err != nil && !n.failed[dir] {
			errs = append(errs, err)
		}
		n.failed[dir] = err != nil
	}
	return errors.Join(errs...)
}

func (n *notices) close() {
	if n.watcher != nil {
		_ = n.watcher.Close() // nothing is lost with it
	}
	n.done.Wait()
}

// watchLoop decides when the files have come to rest. It knows no clock but
// timers and no files but read, so that a test can be both.
type watchLoop struct {
	notices <-chan struct{} // something may have changed
	moved   <-chan struct{} // settle has something new to say
	read    func() *reading
	seen    func(sum [32]byte) bool
	reload  func(*reading)
	settle  func() config.Reload
}

// restless is after how many quiet periods without quiet the files are read all
// the same: somebody may write a log into the same folder.
const restless = 10

// run hands a reading to reload when it is new, when nothing has happened for
// the debounce time, and when a second reading after that time is the same.
func (w *watchLoop) run(ctx context.Context) {
	set := w.settle()
	poll, quiet := time.NewTimer(set.Debounce), time.NewTimer(time.Hour) // the first look is for what changed meanwhile
	quiet.Stop()
	defer poll.Stop()
	defer quiet.Stop()
	var first *reading    // waits to be confirmed
	var noticed time.Time // when the unrest began; zero in quiet times
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.moved:
			set = w.settle()
			poll.Reset(set.Poll)
			if set.Watch { // a folder that is watched from now on may have changed before
				quiet.Reset(set.Debounce)
			}
			continue
		case <-w.notices:
			if !set.Watch {
				continue
			}
			if noticed.IsZero() {
				noticed = time.Now()
			}
			if time.Since(noticed) < restless*set.Debounce {
				quiet.Reset(set.Debounce)
			}
			continue
		case <-poll.C:
			set = w.settle()
			poll.Reset(set.Poll)
			if !set.Watch || first != nil || !noticed.IsZero() {
				continue // a look at the files is due anyway
			}
		case <-quiet.C:
			noticed = time.Time{}
		}
		r := w.read()
		switch {
		case w.seen(r.sum):
			first = nil
			continue
		case first != nil && first.sum == r.sum:
			first = nil
			w.reload(r)
			continue
		}
		first = r
		quiet.Reset(set.Debounce)
	}
}
