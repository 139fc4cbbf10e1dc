package server

import (
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNotifySystemd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	sock, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	want := func(pattern string) {
		t.Helper()
		_ = sock.SetReadDeadline(time.Now().Add(patience))
		buf := make([]byte, 4096)
		n, err := sock.Read(buf)
		if err != nil || !regexp.MustCompile(pattern).Match(buf[:n]) {
			t.Errorf("notice %q %v, want %s", buf[:n], err, pattern)
		}
	}
	text := func(routes int) string { // a change is told twice if it is also found in the file
		return strings.Replace(settings(routes, web+ending), "reload: {", "reload: {watch: false, ", 1)
	}
	h := prepare(t, text(1), say("hello")).open()
	want(`^READY=1\nSTATUS=generation 1, 1 routes$`)
	if err := h.edit(text(2)); err != nil {
		t.Fatal(err)
	}
	want(`^RELOADING=1\nMONOTONIC_USEC=\d+\n`)
	want(`^READY=1\nSTATUS=generation 2, 2 routes$`)
	if err := h.edit("nonsense"); err == nil {
		t.Fatal("no error")
	}
	want(`^RELOADING=1\n`)
	want(`^READY=1\nSTATUS=generation 2, 2 routes, the last reload was refused$`)
	h.stop()
	want(`^STOPPING=1\n`)
	h.wait()
}
