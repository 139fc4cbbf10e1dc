package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pithead/pithead/gateway/pace"
)

// Files are the bytes of a configuration: the process file first, then the route
// files that it includes.
type Files struct {
	files    []*sourceFile
	includes []include
	bad      Errors // includes that could not be read; Parse reports them with all else
	idle     Errors // includes that match no file, which may be right
	again    bool   // the files have been read before, so there may be traffic
}

// include is a pattern, absolute or relative to the working folder, and where it
// stands in the process file.
type include struct {
	glob string
	at   place
}

// FilesOf is a configuration in memory. Its include is not followed; With adds
// route files.
func FilesOf(name string, data []byte) *Files {
	return (&Files{}).With(name, data)
}

// With adds a file to a configuration in memory and returns it.
func (f *Files) With(name string, data []byte) *Files {
	sum := sync.OnceValue(func() [sha256.Size]byte { return sha256.Sum256(data) })
	f.files = append(f.files, &sourceFile{name: name, data: data, sum: sum})
	return f
}

// Read reads the process file and the route files that it includes. An error
// means that the process file cannot be read; what is wrong with an include is
// told by Parse, together with everything else.
func Read(path string) (*Files, error) { return (*Files)(nil).Reread(path) }

// Reread reads the same configuration again. Files that are what they were in f
// cost no more than that: Parse need not look at them again.
func (f *Files) Reread(path string) (*Files, error) {
	fresh := &Files{again: f != nil}
	if err := fresh.add(path, f.byName()); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	fresh.includes = includesOf(fresh.files[0])
	fresh.follow(f)
	return fresh, nil
}

// add reads a file, or takes over that of old if it is the same.
func (f *Files) add(name string, old map[string]*sourceFile) error {
	s, before := old[name], []byte(nil)
	if s != nil {
		before = s.data
	}
	data, err := readFile(name, before)
	switch {
	case err != nil:
		return err
	case s != nil && bytes.Equal(data, before):
		f.files = append(f.files, s)
	default:
		f.With(name, data)
	}
	return nil
}

func (f *Files) byName() map[string]*sourceFile {
	if f == nil {
		return nil
	}
	all := make(map[string]*sourceFile, len(f.files))
	for _, s := range f.files {
		all[s.name] = s
	}
	return all
}

// parse parses the files that have not been, several at a time. A reload leaves half of
// the cores to requests.
func (f *Files) parse() {
	var next atomic.Int64
	var workers sync.WaitGroup
	cores := runtime.GOMAXPROCS(0)
	if f.again {
		cores = max(1, cores/2)
	}
	for range min(cores, len(f.files)) {
		workers.Go(func() {
			p := f.pacer()
			for i := next.Add(1) - 1; i < int64(len(f.files)); i = next.Add(1) - 1 {
				f.files[i].parse(p)
			}
		})
	}
	workers.Wait()
}

// pacer is for work on files that a gateway may be serving.
func (f *Files) pacer() *pace.Pacer {
	if !f.again {
		return nil
	}
	return pace.New()
}

// includesOf finds the include list of a process file. What is wrong with the
// file is left to Parse.
func includesOf(s *sourceFile) []include {
	if !bytes.Contains(s.data, []byte("include")) {
		return nil
	}
	tree, _ := s.resolve(func(n *node) error { return expandWith(n, standIn) })
	if tree == nil || tree.kind != mappingNode {
		return nil
	}
	list := tree.get("include")
	if list == nil || list.kind != sequenceNode {
		return nil
	}
	var all []include
	for _, item := range list.items {
		if item.kind != scalarNode || item.text == "" {
			continue
		}
		glob := item.text
		if !filepath.IsAbs(glob) {
			glob = filepath.Join(filepath.Dir(s.name), glob)
		}
		all = append(all, include{glob: glob, at: item.at})
	}
	return all
}

func (f *Files) follow(old *Files) {
	p, before := f.pacer(), old.byName()
	seen := map[string]bool{realPath(f.files[0].name): true}
	for _, inc := range f.includes {
		names, err := expandGlob(inc.glob)
		if err != nil {
			f.blame(inc, err)
		} else if len(names) == 0 {
			f.idle = append(f.idle, f.files[0].errorAt(inc.at, "include: no file matches %s", inc.glob))
		}
		for _, name := range names {
			p.Step()
			real := realPath(name)
			if seen[real] {
				continue
			}
			seen[real] = true
			if err := f.add(name, before); err != nil {
				f.blame(inc, err)
			}
		}
	}
}

func (f *Files) blame(inc include, err error) {
	e := f.files[0].errorAt(inc.at, "include: %v", err)
	e.Err = err
	f.bad = append(f.bad, e)
}

// expandGlob lists the files of a pattern in order of their names. Names that
// begin with a dot are left out unless asked for: editors leave such files behind.
func expandGlob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		return []string{pattern}, nil
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fmt.Errorf("bad pattern %q: %w", pattern, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(filepath.Base(name), ".") && !strings.HasPrefix(filepath.Base(pattern), ".")
	})
	slices.Sort(names)
	return names, nil
}

// readFile reads hardly more than a file may have, which is enough to refuse it, and
// never waits for a pipe. Of a file that holds what it held before it returns before.
func readFile(name string, before []byte) (_ []byte, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return readOver(file, before)
}

// readOver keeps nothing of what is read while that is what was there before: most files
// are the same at most looks.
func readOver(in *os.File, before []byte) ([]byte, error) {
	var piece [8 << 10]byte
	same := 0
	for {
		n, err := in.Read(piece[:])
		if !bytes.HasPrefix(before[same:], piece[:n]) {
			rest, err := io.ReadAll(io.LimitReader(in, int64(max(0, maxFile+1-same-n))))
			return slices.Concat(before[:same], piece[:n], rest), err
		}
		same += n
		switch {
		case err == io.EOF && same == len(before):
			return before, nil
		case err == io.EOF:
			return slices.Clone(before[:same]), nil
		case err != nil:
			return nil, err
		}
	}
}

func realPath(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	}
	if abs, err := filepath.Abs(name); err == nil {
		name = abs
	}
	return name
}

// Sum is a hash over the names and the bytes of all files.
func (f *Files) Sum() [sha256.Size]byte {
	h := sha256.New()
	var size [8]byte
	part := func(data []byte) { // the length first, so that no two sets look alike
		binary.BigEndian.PutUint64(size[:], uint64(len(data)))
		h.Write(size[:])
		h.Write(data)
	}
	for _, s := range f.files {
		part([]byte(s.name))
		sum := s.sum()
		part(sum[:])
	}
	for _, e := range f.bad {
		part([]byte(e.Msg))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Names are the names of all files, the process file first.
func (f *Files) Names() []string {
	names := make([]string, len(f.files))
	for i, s := range f.files {
		names[i] = s.name
	}
	return names
}

// Dirs are the folders in which a change may matter: that of the process file
// and those that include looks into.
func (f *Files) Dirs() []string {
	var dirs []string
	for _, s := range f.files {
		dirs = append(dirs, filepath.Dir(s.name))
	}
	for _, inc := range f.includes {
		dir := filepath.Dir(inc.glob)
		for strings.ContainsAny(dir, `*?[\`) {
			dir = filepath.Dir(dir)
		}
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
