//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pseudoTerminal is a terminal of some size, and the end where its user sits.
func pseudoTerminal(t *testing.T, columns, lines uint16) (user, terminal *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = user.Close() })
	if err := unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(user.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: lines, Col: columns}); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return user, terminal
}

// In a terminal top is drawn over itself, obeys keys, and leaves the terminal as it
// was.
func TestTopInATerminal(t *testing.T) {
	var asked atomic.Uint64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(state(time.Now(), asked.Add(1)*100))
	}))
	defer server.Close()
	user, terminal := pseudoTerminal(t, 80, 24)
	before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, keepAll, "top", "--probe", server.Listener.Addr().String(), "--every", "50ms")
	cmd.Stdin, cmd.Stdout = terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	until := func(what string, times int) {
		buffer := make([]byte, 4096)
		for bytes.Count(seen, []byte(what)) < times {
			n, err := user.Read(buffer)
			if err != nil {
				t.Fatalf("%q does not come: %v\n%q", what, err, seen)
			}
			seen = append(seen, buffer[:n]...)
		}
	}
	until(enter, 1)
	until("by time", 2)
	_, _ = user.WriteString("n")
	until("by name", 2)
	until("orders", 2)
	_, _ = user.WriteString("q")
	until(leave, 1)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
	if bytes.Count(seen, []byte("\x1b[H")) < 3 || bytes.Contains(seen, []byte("\x1b[2J")) {
		t.Errorf("it is not drawn in place: %q", seen)
	}
}
