//go:build linux

package bpf

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
)

// roles are the programs that tests start. Each says where it listens in its first
// line of output.
var roles = map[string]func([]string) error{
	"service": service,
	"gateway": gateway,
	"late":    late,
	"secure":  secure,
}

func ready() (net.Listener, error) {
	host := os.Getenv("LISTEN")
	if host == "" {
		host = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", host)
	if err == nil {
		_, err = fmt.Fprintln(os.Stdout, l.Addr())
	}
	return l, err
}

// service answers /STATUS/MILLISECONDS/BYTES.
func service([]string) error {
	l, err := ready()
	if err != nil {
		return err
	}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, wait, size := 200, 0, 2
		_, _ = fmt.Sscanf(r.URL.Path, "/%d/%d/%d", &status, &wait, &size)
		_, _ = io.Copy(io.Discard, r.Body)
		if wait > 0 {
			<-time.After(time.Duration(wait) * time.Millisecond)
		}
		w.WriteHeader(status)
		_, _ = w.Write(make([]byte, size))
	}))
}

// gateway is a reverse proxy to the address in args. It tags its connections when
// there is a second argument, the label.
func gateway(args []string) error {
	l, err := ready()
	if err != nil {
		return err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	label := uint64(0)
	if len(args) > 1 {
		if label, err = strconv.ParseUint(args[1], 10, 32); err != nil {
			return err
		}
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				err = tag(conn, anatomy.Tag{Label: uint32(label), Flags: anatomy.TagUpstream})
			}
			return conn, err
		}
	}
	to := &url.URL{Scheme: "http", Host: args[0]}
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := &http.Server{Handler: proxy, ConnContext: withConn}
	if label > 0 {
		server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn := connOf(r)
			if err := tag(conn, anatomy.Tag{Label: uint32(label), Request: 4711}); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			var seen anatomy.Timings
			if err := timings(conn, &seen); err == nil {
				w.Header().Set("Queue-Ns", strconv.FormatInt(int64(seen.QueueSum), 10))
				w.Header().Set("Accept-Ns", strconv.FormatInt(int64(seen.AcceptWait), 10))
				w.Header().Set("Flags", strconv.FormatUint(uint64(seen.Flags), 10))
			}
			proxy.ServeHTTP(w, r)
		})
	}
	return server.Serve(l)
}

// late accepts connections some milliseconds after its start signal, reads some
// milliseconds after that, and answers once.
func late(args []string) error {
	l, err := ready()
	if err != nil {
		return err
	}
	accept, _ := strconv.Atoi(args[0])
	read, _ := strconv.Atoi(args[1])
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	for {
		if err := raw.Control(waitForClient); err != nil {
			return err
		}
		<-time.After(time.Duration(accept) * time.Millisecond)
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		<-time.After(time.Duration(read) * time.Millisecond)
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
}
