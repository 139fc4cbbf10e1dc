package discovery

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	fileLimit  = 8 << 20
	fileSettle = 250 * time.Millisecond // between two reads that must be equal
	filePoll   = 10 * time.Second
)

// FileConfig takes the endpoints from a file of their own, YAML or JSON, which is read
// again whenever it changes. It holds a list, or a mapping with the one key
// `targets`; each target is `host:port` or a mapping, as for `static`. A file
// that is missing, empty or wrong changes nothing: the last endpoints stay in use.
//
//	file: {path: endpoints.yaml}
type FileConfig struct {
	// Path of the file, relative to the file that names it. Required.
	Path string `yaml:"path"`
}

func init() { kind.Add(Kinds, "file", FileConfig{}, newFile) }

// Validate checks the settings.
func (c FileConfig) Validate() error {
	if c.Path == "" {
		return kind.At("path", "is required")
	}
	return nil
}

type fileSource struct {
	path   string
	env    Env
	poll   time.Duration
	settle time.Duration
}

func newFile(c FileConfig, env Env) (gateway.Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	path := c.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(env.Dir, path)
	}
	return &fileSource{path: path, env: env, poll: filePoll, settle: fileSettle}, nil
}

// Watch implements gateway.Source. It watches the folder and not the file,
// because editors and ConfigMaps replace files; and it polls, because notices
// get lost on network file systems and beyond the system's limit of watches.
func (s *fileSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	out := newOutage(s.env, "file", s.path)
	dir := filepath.Dir(s.path)
	var events <-chan fsnotify.Event
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		out.log.Warn("the file is only polled", "every", s.poll, "error", err)
	} else {
		defer watcher.Close()
		go drainErrors(watcher)
		events = watcher.Events
	}
	ticker := time.NewTicker(s.poll)
	defer ticker.Stop()
	for {
		if watcher != nil {
			// Again each time: the folder may have come, or may be another one by now.
			_ = watcher.Add(dir) // polling covers a folder that cannot be watched
		}
		targets, err := s.read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			out.failed(err, true)
		default:
			out.over()
			publish(targets)
		}
		if !s.changed(ctx, events, ticker.C) {
			return nil
		}
	}
}

// changed waits until the file may be another one, and is false when ctx ended first.
func (s *fileSource) changed(ctx context.Context, events <-chan fsnotify.Event, poll <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-poll:
			return true
		case event := <-events:
			// Kubernetes swaps a link named ..data that the file's name leads through.
			if name := filepath.Base(event.Name); name == filepath.Base(s.path) || strings.HasPrefix(name, "..") {
				return true
			}
		}
	}
}

// drainErrors keeps the watcher going. Its errors say that notices were lost,
// for which there is the poll.
func drainErrors(w *fsnotify.Watcher) {
	for range w.Errors {
	}
}

// read waits until two reads in a row are equal, so that a file is not taken
// while somebody writes it.
func (s *fileSource) read(ctx context.Context) ([]gateway.Target, error) {
	text, err := kind.ReadFile(s.path, fileLimit)
	for err == nil {
		pause(ctx, s.settle)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var again []byte
		if again, err = kind.ReadFile(s.path, fileLimit); err != nil {
			break
		}
		if bytes.Equal(text, again) {
			return parseFile(text)
		}
		text = again
	}
	return nil, fmt.Errorf("read endpoints: %w", err)
}
