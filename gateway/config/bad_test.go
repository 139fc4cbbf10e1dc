package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each file of testdata/bad has one mistake. Its first lines say what must be
// said of it: `# want: line:column: part of the message`.
func TestBad(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(names) < 45 {
		t.Fatalf("%d bad files, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(FilesOf(filepath.Base(name), data))
			errs, _ := errors.AsType[Errors](err)
			wants := wantsOf(t, data)
			for i := range max(len(wants), len(errs)) {
				switch {
				case i >= len(wants):
					t.Errorf("one error too many: %v", errs[i])
				case i >= len(errs):
					t.Errorf("no error %q", wants[i])
				default:
					checkError(t, errs[i], wants[i], data)
				}
			}
		})
	}
}

func wantsOf(t *testing.T, data []byte) (wants []string) {
	t.Helper()
	for line := range strings.Lines(string(data)) {
		want, ok := strings.CutPrefix(line, "# want: ")
		if !ok {
			break
		}
		wants = append(wants, strings.TrimSuffix(want, "\n"))
	}
	if len(wants) == 0 {
		t.Fatal("the file does not begin with # want:")
	}
	return wants
}

func checkError(t *testing.T, e *Error, want string, data []byte) {
	t.Helper()
	got := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg)
	place, msg, _ := strings.Cut(want, ": ")
	if !strings.HasPrefix(got, place+": ") || !strings.Contains(e.Msg, msg) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	checkInside(t, e, data)
}

// checkInside wants an error to point at a place that the file has, and a caret
// to stand below it.
func checkInside(t *testing.T, e *Error, data []byte) {
	t.Helper()
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\uFEFF"), "\r\n", "\n")
	lines := strings.Split(text, "\n")
	if e.File == "" || e.Line < 1 || e.Line > len(lines) {
		t.Fatalf("%v is not in the file", e.Pos)
	}
	if width := len([]rune(lines[e.Line-1])); e.Column < 1 || e.Column > width+1 {
		t.Errorf("%v is beyond the line, which has %d characters", e.Pos, width)
	}
	if e.caret > len([]rune(e.Source)) {
		t.Errorf("%v: the caret stands at %d of %q", e.Pos, e.caret, e.Source)
	}
}
