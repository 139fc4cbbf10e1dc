package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// wall is the clock on the wall of one process, which a test can set without touching that
// of the machine. The program is built with another time.Now: it adds what is in a file
// to the seconds of the wall clock and leaves the monotonic one alone, which is what
// clock_settime does to all processes. Nothing in a Go program reads the wall clock otherwise.
type wall struct {
	t    *testing.T
	file string
}

// reading is the line of time.Now that reads both clocks.
const reading = "\tsec, nsec, mono := runtimeNow()\n"

// wallOverlay writes what `go build -overlay` wants.
func wallOverlay(t *testing.T) (path string) {
	t.Helper()
	pkg, dir := filepath.Join(runtime.GOROOT(), "src", "time"), t.TempDir() //nolint:staticcheck // the tests run where they are built
	text, err := os.ReadFile(filepath.Join(pkg, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, now, _ := strings.Cut(string(text), "\nfunc Now() Time {\n")
	if !strings.HasPrefix(now, reading) || strings.Count(string(text), reading) != 1 {
		t.Fatalf("time.Now reads the clocks in another way than this test knows: %.200s", now)
	}
	changed := filepath.Join(dir, "time.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(text), reading, reading+"\tsec += *jump\n", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	added, err := filepath.Abs("testdata/clock/jump.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(pkg, "time.go"): changed, filepath.Join(pkg, "jump.go"): added}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newWall builds the program, and has g run it.
func newWall(t *testing.T, g *gatewayUnderLoad) *wall {
	t.Helper()
	w, program := &wall{t, g.written("clock")}, g.written("pithead")
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", wallOverlay(t), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(w.file, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	g.prepare = func(cmd *exec.Cmd) {
		cmd.Path, cmd.Err = program, nil
		cmd.Env = append(cmd.Env, "PITHEAD_TEST_CLOCK="+w.file)
	}
	return w
}

// set sets the clock that far from the right time.
func (w *wall) set(off time.Duration) {
	w.t.Helper()
	file, err := os.OpenFile(w.file, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer file.Close() // what counts is that it was written
	if _, err := file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(off/time.Second)), 0); err != nil {
		w.t.Fatal(err)
	}
}

// The other clock can be built: time.Now is as the full run needs it.
func TestWallOverlay(t *testing.T) {
	text, err := os.ReadFile(wallOverlay(t))
	if err != nil || !strings.Contains(string(text), "jump.go") {
		t.Errorf("%s %v", text, err)
	}
}
