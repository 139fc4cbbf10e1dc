// Package unixsocket listens on Unix sockets with the mode that was asked for
// from the first moment on, replaces those that a dead process left behind, and
// removes its own at the end.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Listener is a Unix socket that removes its file when it is closed, unless that
// is another process's by now.
type Listener struct {
	net.Listener
	path string
	info fs.FileInfo
}

// Listen listens on path. A socket that nobody listens on any more is replaced;
// anything else at the path is an error.
func Listen(path string, mode fs.FileMode) (*Listener, error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return listen(path, mode)
}

// checkFolder refuses a folder in which another user could put another socket
// in our place.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("folder %s is writable for everybody", dir)
	}
	return nil
}

// removeStale removes a socket that nobody listens on any more.
func removeStale(path string) error {
	err := Owned(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // it was only a question
		return fmt.Errorf("%s: another process listens here", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Owned refuses what is not a socket of this user or of root.
func Owned(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is not a socket", path)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("%s belongs to user %d", path, stat.Uid)
	}
	return nil
}

// listen makes the socket in a folder that nobody else can enter, and moves it
// to its path when its mode is right: bind and chmod are two steps, and between
// them the socket would be as open as the umask is.
func listen(path string, mode fs.FileMode) (*Listener, error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // empty by then
	hidden := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	info, err := place(hidden, path, mode)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &Listener{Listener: l, path: path, info: info}, nil
}

func place(hidden, path string, mode fs.FileMode) (fs.FileInfo, error) {
	if err := os.Chmod(hidden, mode); err != nil {
		return nil, err
	}
	if err := os.Rename(hidden, path); err != nil {
		return nil, err
	}
	return os.Lstat(path)
}

// Addr implements net.Listener: the path that clients know, and not the one that
// the socket was made under.
func (l *Listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Chmod changes who may connect.
func (l *Listener) Chmod(mode fs.FileMode) error {
	if !l.mine() {
		return fmt.Errorf("%s is another socket by now", l.path)
	}
	return os.Chmod(l.path, mode)
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	err := l.Listener.Close()
	if err == nil && l.mine() {
		return os.Remove(l.path)
	}
	return err
}

func (l *Listener) mine() bool {
	info, err := os.Lstat(l.path)
	return err == nil && os.SameFile(info, l.info)
}
