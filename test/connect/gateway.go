package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
	port, addr := freePort()
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
	return port
}

// freePort finds one below those that outgoing connections have, of which the suite makes
// thousands: one of them could take it before the gateway does.
func freePort() (port int, addr string) {
	for {
		port = 12_000 + rand.N(3_000)
		addr = "127.0.0.1:" + strconv.Itoa(port)
		l, err := net.Listen("tcp", addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		check(err)
		check(l.Close())
		return port, addr
	}
}

// file writes PEM data where a gateway can read it.
func file(name string, b []byte) string {
	p := filepath.Join(tmp, name)
	check(os.WriteFile(p, b, 0o600))
	return p
}
