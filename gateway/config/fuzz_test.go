package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse wants of any bytes: no panic, errors that point into the file, and
// a configuration that means the same when it is read again or written out.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			f.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(FilesOf("x.yaml", data))
		if err != nil {
			errs, ok := errors.AsType[Errors](err)
			if !ok || len(errs) == 0 {
				t.Fatalf("%T: %v", err, err)
			}
			for _, e := range errs {
				checkInside(t, e, data)
				_ = e.Error()
			}
			return
		}
		again, err := Parse(FilesOf("x.yaml", data))
		if err != nil {
			t.Fatalf("the second time: %v", err)
		}
		if c.Fingerprint(&c.Root) != again.Fingerprint(&again.Root) {
			t.Error("two fingerprints of the same bytes")
		}
		for _, r := range c.Routes {
			if p := c.Pos(&r.To); p.Line < 1 || p.Column < 1 {
				t.Errorf("a route leads to its upstream at %v", p)
			}
		}
		if len(c.doc.secrets) > 0 {
			return // what is masked cannot mean the same
		}
		written, err := Parse(FilesOf("x.yaml", c.Redacted()))
		if err != nil {
			t.Fatalf("what was written out cannot be read: %v\n%s", err, c.Redacted())
		}
		if c.Fingerprint(&c.Root) != written.Fingerprint(&written.Root) {
			t.Errorf("what was written out means something else:\n%s", c.Redacted())
		}
	})
}
