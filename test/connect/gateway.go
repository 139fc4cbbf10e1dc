package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// placeholders are all that a command may name.
func placeholders() map[string]string {
	return map[string]string{
		"cert": "", "key": "", "clientca": "", "upstreamca": "", "upstreamcert": "", "upstreamkey": "",
	}
}

// startGateway returns the port that the gateway listens on.
func startGateway(vars map[string]string) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	addr := l.Addr().String()
	check(l.Close())
	vars["listen"] = addr
	vars["host"], vars["port"], _ = net.SplitHostPort(addr)
	vars["uhost"], vars["uport"], _ = net.SplitHostPort(vars["upstream"])
	var args []string
	for arg := range strings.FieldsSeq(*gateway) {
		for name, value := range vars {
			arg = strings.ReplaceAll(arg, "{"+name+"}", value)
		}
		args = append(args, arg)
	}
	c := command(args)
	check(c.Start())
	children = append(children, c)
	for end := time.Now().Add(*ready); ; <-time.After(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			check(conn.Close())
			break
		}
		if time.Now().After(end) {
			check(fmt.Errorf("gateway not listening on %s: %w", addr, err))
		}
	}
	return l.Addr().(*net.TCPAddr).Port
}

// file writes PEM data where a gateway can read it.
func file(name string, b []byte) string {
	p := filepath.Join(tmp, name)
	check(os.WriteFile(p, b, 0o600))
	return p
}
