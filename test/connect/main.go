// Connect puts a gateway between the two halves of the Connect conformance suite
// (connectrpc.com/conformance). run.sh shows its use.
//
//	connectconformance --mode server ... -- connect server [flags] -- referenceserver
//	connectconformance --mode client ... -- connect client [flags] -- referenceclient
//
// In server mode the suite's own client, which checks the wire, talks to the
// gateway, and the gateway to a server that is started here. In client mode the
// suite's own server, which checks what reaches it and sends odd and malformed
// answers, is behind the gateway, and a client that is started here talks to it.
//
// -gateway is a command line, split on blanks. These are replaced in it, by
// nothing when there is no value:
//
//	{listen}      127.0.0.1:PORT that the gateway must listen on
//	{host} {port} the two halves of it
//	{upstream}    HOST:PORT of the server behind it
//	{uhost} {uport}
//	{proto}       h1 or h2: the protocol of the upstream; without TLS, h2 is prior knowledge
//	{front}       h1 or h2: the protocol that the client is going to use
//	{cert} {key}  PEM files for a listener with TLS
//	{clientca}    PEM file: client certificates are required and must chain to it
//	{upstreamca}  PEM file to trust for an upstream with TLS
//	{upstreamcert} {upstreamkey} client certificate for an upstream with TLS
//
// A gateway is ready when it accepts connections. Its TMPDIR is removed when
// everything is over.
package main

import (
	"flag"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

var (
	gateway   = flag.String("gateway", os.Getenv("GATEWAY"), "command that starts the gateway")
	upstream  = flag.String("upstream-http", "same", "same, 1 or 2: HTTP version between gateway and server (server mode)")
	translate = flag.Bool("translate", false, "the server speaks gRPC alone, whatever the client speaks (server mode)")
	logFile   = flag.String("log", "", "append what the gateway and the peer write to stderr here")
	ready     = flag.Duration("ready", 8*time.Second, "how long the gateway may take to listen")
)

var (
	tmp      string
	children []*exec.Cmd
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("connect: ")
	if len(os.Args) < 2 {
		log.Fatal("usage: connect server|client [flags] -- peer command")
	}
	mode := os.Args[1]
	check(flag.CommandLine.Parse(os.Args[2:]))
	if *gateway == "" || flag.NArg() == 0 {
		log.Fatal("-gateway and a peer command are needed")
	}
	dir, err := os.MkdirTemp("", "connect")
	check(err)
	tmp = dir
	go stopWhenTold()
	switch mode {
	case "server":
		server()
	case "client":
		client()
	default:
		log.Printf("unknown mode %q", mode)
		stop(2)
	}
	stop(0)
}

// stopWhenTold also notices that the runner is gone, which may be killed without
// a word to us.
func stopWhenTold() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	parent := os.Getppid()
	for os.Getppid() == parent {
		select {
		case <-told:
			stop(0)
		case <-time.After(time.Second):
		}
	}
	stop(1)
}

func stop(code int) {
	for _, c := range slices.Backward(children) {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	<-time.After(20 * time.Millisecond)
	for _, c := range children {
		_ = c.Process.Kill()
	}
	_ = os.RemoveAll(tmp)
	os.Exit(code)
}

func check(err error) {
	if err != nil {
		log.Print(err)
		stop(1)
	}
}

func stderr() io.Writer {
	if *logFile == "" {
		return os.Stderr
	}
	f, err := os.OpenFile(*logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	check(err)
	return f
}

// command is a child that dies with us.
func command(args []string) *exec.Cmd {
	c := exec.Command(args[0], args[1:]...)
	c.Stderr = stderr()
	c.Env = append(os.Environ(), "TMPDIR="+tmp)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}
