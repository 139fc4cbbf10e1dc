package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

const (
	snapshotVersion = 1
	snapshotLimit   = 32 << 20
	snapshotEvery   = 5 * time.Second // between two writings
	snapshotTouch   = time.Minute     // between two notes that the set is still the same
	// snapshotAge is how old a set may be to be used: addresses are given to
	// somebody else some day.
	snapshotAge = 24 * time.Hour
)

// consulSnapshot remembers the last set of one query in a file of its own. The
// time of the file is when Consul last confirmed the set. A nil snapshot
// remembers nothing.
type consulSnapshot struct {
	path     string
	query    string // what the set is the answer to
	loopback bool

	remembered []gateway.Target // by load
	age        time.Time        // of remembered

	changed chan struct{} // holds one token when there is something to write

	mu        sync.Mutex
	targets   []gateway.Target
	confirmed time.Time
	known     bool      // keep has been called
	dirty     bool      // targets are not in the file
	touched   time.Time // the time that the file has; the writer's own
}

// snapshotText is the content of the file.
type snapshotText struct {
	Version int              `json:"version"`
	Query   string           `json:"query"`
	Targets []gateway.Target `json:"targets"`
}

func newConsulSnapshot(c ConsulConfig, loopback bool) (*consulSnapshot, error) {
	if c.Snapshot == "" {
		return nil, nil //nolint:nilnil // a nil snapshot is one that remembers nothing
	}
	dir := string(c.Snapshot)
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, kind.At("snapshot", "%s is no folder", dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, kind.At("snapshot", "%w", err)
	}
	tags := slices.Sorted(slices.Values(c.Tags))
	query := fmt.Sprintf("%q", append([]string{c.Address, c.Datacenter, c.Namespace, c.Partition, c.Service, c.Filter}, tags...))
	sum := sha256.Sum256([]byte(query))
	return &consulSnapshot{
		path:  filepath.Join(dir, c.Service+"-"+hex.EncodeToString(sum[:6])+".json"),
		query: query, loopback: loopback, changed: make(chan struct{}, 1),
	}, nil
}

// load reads the file and says whether it holds something that can be used.
func (s *consulSnapshot) load(log *slog.Logger) bool {
	if s == nil {
		return false
	}
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	var text []byte
	if err == nil {
		text, err = kind.ReadFile(s.path, snapshotLimit)
	}
	if err == nil {
		// A clock that was ahead when the file was written, or is behind now, must
		// not make the set younger than new.
		if s.age = info.ModTime(); time.Since(s.age) < 0 {
			s.age = time.Now()
		}
		s.remembered, err = s.parse(text)
	}
	if err == nil && time.Since(s.age) > snapshotAge {
		err = fmt.Errorf("it is older than %s", snapshotAge)
	}
	if err != nil {
		log.Warn("the snapshot of the endpoints is not used", "file", s.path, "error", err)
		return false
	}
	return true // also when it is empty: a service without instances must not keep the others' gateway from getting ready
}

// parse trusts the file as little as the catalogue: whoever may write to the
// folder must not be able to point the gateway at itself.
func (s *consulSnapshot) parse(text []byte) ([]gateway.Target, error) {
	var content snapshotText
	switch err := json.Unmarshal(text, &content); {
	case err != nil:
		return nil, err
	case content.Version != snapshotVersion:
		return nil, fmt.Errorf("it has version %d, not %d", content.Version, snapshotVersion)
	case content.Query != s.query:
		return nil, errors.New("it answers another query")
	case len(content.Targets) > maxTargets:
		return nil, fmt.Errorf("%d targets are more than %d", len(content.Targets), maxTargets)
	}
	for i := range content.Targets {
		t := &content.Targets[i]
		addr, err := parseAddress(t.Addr)
		if err != nil {
			return nil, err
		}
		if why := denied(addr, s.loopback); why != "" {
			return nil, fmt.Errorf("%s is denied: %s", addr, why)
		}
		t.Addr, t.Weight, t.Tags, t.Meta = addr, min(max(t.Weight, 1), 100), boundTags(t.Tags), boundMeta(t.Meta)
	}
	return content.Targets, nil
}

// recall is the set that load has found, and when it was confirmed.
func (s *consulSnapshot) recall() ([]gateway.Target, time.Time) { return s.remembered, s.age }

// keep takes note of a set that was confirmed now. It does not wait for the disk.
func (s *consulSnapshot) keep(targets []gateway.Target, now time.Time) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed = now
	if !s.known || !reflect.DeepEqual(s.targets, targets) {
		s.targets = slices.Clone(targets) // who gets the slice next may do with it as it likes
		s.known, s.dirty = true, true
	}
	if s.dirty || now.Sub(s.touched) >= snapshotTouch {
		select {
		case s.changed <- struct{}{}:
		default: // somebody will look already
		}
	}
}

// start begins to write what is kept; stop writes what is left, and ends it.
func (s *consulSnapshot) start(log *slog.Logger) (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, log) })
	return func() { cancel(); running.Wait() }
}

func (s *consulSnapshot) run(ctx context.Context, log *slog.Logger) {
	fault := ""
	save := func() {
		if err := s.save(); err == nil {
			fault = ""
		} else if err.Error() != fault {
			fault = err.Error()
			log.Warn("the snapshot of the endpoints cannot be written", "error", err)
		}
	}
	for {
		select {
		case <-ctx.Done():
			save()
			return
		case <-s.changed:
			save()
			pause(ctx, snapshotEvery)
		}
	}
}

// save brings the file up to date: its content if the set has changed, its time
// in any case.
func (s *consulSnapshot) save() error {
	s.mu.Lock()
	targets, confirmed, dirty := s.targets, s.confirmed, s.dirty
	fresh := !s.known || !dirty && s.touched.Equal(confirmed)
	s.dirty, s.touched = false, confirmed
	s.mu.Unlock()
	if fresh {
		return nil
	}
	err := error(nil)
	if dirty {
		err = s.write(targets)
	}
	if err == nil {
		err = os.Chtimes(s.path, confirmed, confirmed)
	}
	if err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
	}
	return err
}

// write replaces the file as a whole, so that a crash leaves the old one or the
// new one.
func (s *consulSnapshot) write(targets []gateway.Target) (err error) {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(snapshotText{snapshotVersion, s.query, targets}); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if text.Len() > snapshotLimit {
		return fmt.Errorf("%s of endpoints are more than %s", kind.Size(text.Len()), kind.Size(snapshotLimit))
	}
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".snapshot-") // which nobody else may read
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text.Bytes())
	if err == nil {
		err = f.Sync() // or a rename that outlives a power cut could lead to an empty file
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}
