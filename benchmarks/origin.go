package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serveOrigin is the server behind the proxies: as little work as an answer can
// be, so that the core it shares with the clients is theirs. It ends with ctx.
func serveOrigin(ctx context.Context, h1, h2c string) error {
	plainListener, err := new(net.ListenConfig).Listen(ctx, "tcp", h1)
	if err != nil {
		return err
	}
	grpcListener, err := new(net.ListenConfig).Listen(ctx, "tcp", h2c)
	if err != nil {
		return errors.Join(err, plainListener.Close())
	}
	server := newGRPCOrigin()
	context.AfterFunc(ctx, func() {
		_ = plainListener.Close()
		_ = server.Close()
	})
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(grpcListener) }()
	answers := map[string][]byte{"/128": answer(128), "/10k": answer(10 << 10), "/1m": answer(1 << 20), "/introspect": answerOf(introspection)}
	for {
		conn, err := plainListener.Accept()
		if err != nil {
			return errors.Join(ignoreClosed(err), ignoreClosed(<-failed))
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = answerAll(conn, answers) // the proxy closed the connection
		}()
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func answer(size int) []byte { return answerOf(strings.Repeat("x", size)) }

func answerOf(body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// answerAll reads requests of one connection and answers by their path.
func answerAll(conn net.Conn, answers map[string][]byte) error {
	in := bufio.NewReaderSize(conn, 16<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		_, rest, _ := bytes.Cut(line, []byte{' '})
		path, _, _ := bytes.Cut(rest, []byte{' '})
		found, ok := answers[string(path)]
		if !ok {
			return fmt.Errorf("unknown path %q", path)
		}
		length, err := readHead(in)
		if err != nil {
			return err
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
		if _, err := conn.Write(found); err != nil {
			return err
		}
	}
}

var contentLength, transferEncoding = []byte("content-length:"), []byte("transfer-encoding:")

// readHead reads header lines up to the empty one and returns Content-Length.
func readHead(in *bufio.Reader) (length int, err error) {
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return 0, err
		case len(line) <= 2:
			return length, nil
		case hasPrefixFold(line, contentLength):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, err
			}
		case hasPrefixFold(line, transferEncoding):
			return 0, errors.New("the message is chunked, which no case of this benchmark is")
		}
	}
}

func hasPrefixFold(line, prefix []byte) bool {
	return len(line) >= len(prefix) && bytes.EqualFold(line[:len(prefix)], prefix)
}

// newGRPCOrigin answers every call with one message of 128 bytes.
func newGRPCOrigin() *http.Server {
	message := grpcMessage(128)
	s := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a call that breaks off is noticed by its client
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(message)
		w.Header().Set("Grpc-Status", "0")
	})
	return s
}

// grpcMessage is a length-prefixed message without compression.
func grpcMessage(size int) []byte {
	return append([]byte{0, 0, 0, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{'x'}, size)...)
}
