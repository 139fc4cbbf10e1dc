package unixsocket

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|want {
		t.Errorf("mode %v, %v; want %v", info, err, want)
	}
}

func TestListenAndChmod(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l, err := Listen(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, path, 0o660)
	if err := l.Chmod(0o600); err != nil {
		t.Error(err)
	}
	wantMode(t, path, 0o600)
	if got := l.Addr().String(); got != path {
		t.Errorf("address %s, want %s", got, path)
	}
	if err := Owned(path); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if rest, err := os.ReadDir(dir); err != nil || len(rest) > 0 {
		t.Errorf("left behind: %v, %v", rest, err)
	}
}

// TestFault36StaleSocket: what kill -9 leaves behind is in nobody's way.
func TestFault36StaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 3 {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		if err := dead.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := Listen(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path, 0o600); err == nil {
			t.Error("the socket of a living process was taken")
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAnothersSocketIsLeftAlone: a process that was replaced while it still ran
// takes nothing away from its successor.
func TestAnothersSocketIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Chmod(0o666); err == nil {
		t.Error("the mode of another socket was changed")
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	wantMode(t, path, 0o600)
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}
