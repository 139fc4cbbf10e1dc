package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// walk does what a page of docs/howto says, as a reader would: in one shell and one
// folder, from top to bottom.
//
//   - A ```yaml fence that begins with `# NAME.yaml` is saved under that name.
//   - In a ```sh fence, lines that begin with `$ ` are typed; the lines below are what they
//     print, in which `...` stands for anything but nothing. A line that ends in a backslash goes on.
//   - A command that ends in ` &` runs on, and the next one is typed when it listens.
//
// Ports of 127.0.0.1 and localhost are others in the test, and so is what swap says. It
// returns how many commands were typed.
func walk(t *testing.T, page string, swap ...string) (commands int) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	ports := newPorts(t)
	w := startWalker(t, ports)
	words := strings.NewReplacer(swap...)
	for i, part := range strings.Split(words.Replace(string(text)), "\n```")[1:] {
		kind, body, _ := strings.Cut(part, "\n")
		if i%2 == 1 {
			continue // what is between two fences
		}
		body = ports.swap(body) + "\n"
		name, isFile := strings.CutPrefix(body, "# ")
		switch name, _, _ = strings.Cut(name, "\n"); {
		case kind == "yaml" && isFile && filepath.Ext(name) == ".yaml":
			if err := os.WriteFile(filepath.Join(w.dir, name), []byte(body), 0o600); err != nil {
				t.Fatal(err)
			}
		case kind == "sh":
			for block := range strings.SplitSeq(strings.TrimPrefix(body, "$ "), "\n$ ") {
				commands++
				w.typed(t, block)
			}
		}
	}
	return commands
}

// walker is a shell.
type walker struct {
	dir string
	in  io.Writer
	out *bufio.Reader
	// stop ends the shell and all that it has started.
	stop func()
}

// prompt ends what a command prints.
const prompt = "\x01ready\x01"

func startWalker(t *testing.T, ports *ports) *walker {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("bash")
	cmd.Dir = dir
	// testscript has a curl of its own on the path, which is not all of curl.
	cmd.Env = append(os.Environ(), "PATH=/usr/local/bin:/usr/bin:/bin:"+os.Getenv("PATH"), "PITHEAD_ADMIN="+ports.swap("127.0.0.1:9901"), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with all that it starts
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // killed
		if text, err := os.ReadFile(filepath.Join(dir, "background.log")); t.Failed() && err == nil {
			t.Logf("what ran in the background said\n%s", text)
		}
	})
	return &walker{dir, in, bufio.NewReader(out), stop}
}

var listens = regexp.MustCompile(`(?:--listen|--port|PORT=|address:) ?"?((?:127\.0\.0\.1:|localhost:)?\d+)`)

// typed types a command and compares what it prints.
func (w *walker) typed(t *testing.T, block string) {
	t.Helper()
	command, want, _ := strings.Cut(block, "\n")
	for strings.HasSuffix(command, "\\") {
		var more string
		more, want, _ = strings.Cut(want, "\n")
		command += "\n" + more
	}
	line, background := strings.CutSuffix(command, " &")
	if background {
		line += " >>background.log 2>&1 </dev/null &"
	}
	if _, err := fmt.Fprintf(w.in, "%s\nprintf '\\n%s\\n'\n", line, prompt); err != nil {
		t.Fatal(err)
	}
	got := w.read(t, command)
	if background {
		w.listening(t, command)
	}
	if !matches(want, got) {
		t.Errorf("$ %s\nprinted:\n%s\nwant:\n%s", command, got, want)
	}
}

// read returns what is printed up to the next prompt.
func (w *walker) read(t *testing.T, command string) string {
	t.Helper()
	late := time.AfterFunc(3*patience, w.stop)
	defer late.Stop()
	var got strings.Builder
	for {
		line, err := w.out.ReadString('\n')
		if err != nil {
			t.Fatalf("$ %s\nno end within %s (%v); so far:\n%s", command, 3*patience, err, got.String())
		}
		if strings.TrimSpace(line) == prompt {
			return got.String()
		}
		got.WriteString(line)
	}
}

// listening waits until everything listens that a command starts: on the addresses that it
// names, or that the file does which it names.
func (w *walker) listening(t *testing.T, command string) {
	t.Helper()
	text := command
	for word := range strings.FieldsSeq(command) {
		if file, err := os.ReadFile(filepath.Join(w.dir, word)); err == nil {
			text = ""
			for line := range strings.Lines(string(file)) {
				if strings.HasPrefix(line, "listeners:") || strings.HasPrefix(line, "admin:") {
					text += line
				}
			}
		}
	}
	found := listens.FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		t.Fatalf("$ %s\nnobody knows what it listens on", command)
	}
	for _, match := range found {
		addr := match[1]
		if !strings.Contains(addr, ":") {
			addr = "127.0.0.1:" + addr
		}
		if err := dialled(addr); err != nil {
			t.Fatalf("$ %s\n%v", command, err)
		}
	}
}

// dialled waits until somebody listens.
func dialled(addr string) error {
	tick, late := time.NewTicker(20*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-late:
			return err
		}
	}
}

// matches says whether a command has printed what the page says.
func matches(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(want)), `\.\.\.`, `(?s:.+)`)
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(strings.TrimSpace(strings.ReplaceAll(got, "\r\n", "\n")))
}

// ports gives free ports for those of a page.
type ports struct {
	t     *testing.T
	known map[string]string
}

func newPorts(t *testing.T) *ports { return &ports{t, map[string]string{}} }

var port = regexp.MustCompile(`(127\.0\.0\.1:|localhost:|--port |PORT=)(\d{4,5})\b`)

func (p *ports) swap(text string) string {
	return port.ReplaceAllStringFunc(text, func(match string) string {
		found := port.FindStringSubmatch(match)
		if p.known[found[2]] == "" {
			_, p.known[found[2]], _ = net.SplitHostPort(freeAddress())
		}
		return found[1] + p.known[found[2]]
	})
}

// What walk takes for the same is told apart by a test of its own, because all that it
// checks depends on it.
func TestWalkMatches(t *testing.T) {
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"", "\n", true},
		{"", "x", false},
		{"100 200", "  100 200\n\n", true},
		{"100 200", "99 200\n1 502", false},
		{"HTTP/1.1 401 ...\n...\nWww: a", "HTTP/1.1 401 Unauthorized\r\nX: y\r\nWww: a\n", true},
		{"a...z", "a\nb", false},
		{"a.c", "abc", false},
		{"...", "", false},
	} {
		if matches(c.want, c.got) != c.same {
			t.Errorf("want %q, got %q: %v", c.want, c.got, !c.same)
		}
	}
	if out := newPorts(t).swap("127.0.0.1:9001 10.0.0.7:9000 localhost:9001"); strings.Contains(out, ":9001") || !strings.Contains(out, "10.0.0.7:9000") {
		t.Errorf("ports: %s", out)
	}
}

func TestSurviveDocs(t *testing.T) {
	const page = "../../docs/howto/survive.md"
	if n := walk(t, page); n < 60 {
		t.Errorf("only %d commands found", n)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("```\n$ ")) {
		t.Error("there are commands in a fence that is not typed")
	}
}
