package admin

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/pithead/pithead/gateway/unixsocket"
)

// Listen listens on host:port, or on "unix:" and a path. Only the own user may
// connect to a Unix socket. A socket that a dead process left behind is
// replaced; anything else at the path is an error.
func Listen(address string) (net.Listener, error) {
	path, unix := strings.CutPrefix(address, unixPrefix)
	if !unix {
		return new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	}
	l, err := unixsocket.Listen(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}
