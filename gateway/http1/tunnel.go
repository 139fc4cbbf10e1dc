package http1

import (
	"fmt"
	"net/http"
)

// tunnel is a connection after 101: bytes both ways, as they come.
type tunnel struct{ c *conn }

// Read implements io.Reader.
func (t *tunnel) Read(p []byte) (int, error) {
	if len(t.c.in.buffered()) == 0 {
		t.c.in.release()
		return t.c.net.Read(p)
	}
	return t.c.in.read(p)
}

// Write implements io.Writer.
func (t *tunnel) Write(p []byte) (int, error) { return t.c.net.Write(p) }

// Close implements io.Closer.
func (t *tunnel) Close() error { return t.c.net.Close() }

// CloseWrite says that nothing more is to come.
func (t *tunnel) CloseWrite() error {
	if half, ok := t.c.net.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("close write: %w", http.ErrNotSupported)
}
