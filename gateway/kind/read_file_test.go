package kind_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pithead/pithead/gateway/kind"
)

// A pipe in the place of a file would block whoever opens it, and so a reload, for ever.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(in("full"), []byte("12345678"), 0o600), os.WriteFile(in("over"), []byte("123456789"), 0o600),
		syscall.Mkfifo(in("pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if text, err := kind.ReadFile(in("full"), 8); err != nil || string(text) != "12345678" {
		t.Errorf("a file of as many bytes as there may be: %q, %v", text, err)
	}
	for name, want := range map[string]string{
		"over": "over is larger than 8B", "pipe": "pipe is no regular file", ".": dir + " is no regular file",
	} {
		if text, err := kind.ReadFile(in(name), 8); err == nil || !strings.HasSuffix(err.Error(), want) || text != nil {
			t.Errorf("%s: %q, %v, want %s", name, text, err, want)
		}
	}
	if _, err := kind.ReadFile(in("none"), 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
