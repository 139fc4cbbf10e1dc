package freeport

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

const env = "FREEPORT_TAKE"

// TestMain lets the test be another process, which takes ports and keeps them until its
// input ends.
func TestMain(m *testing.M) {
	n, err := strconv.Atoi(os.Getenv(env))
	if err != nil {
		os.Exit(m.Run())
	}
	for range n {
		port, _, err := Take()
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintln(os.Stdout, port)
	}
	_ = os.Stdout.Close()
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// Of three processes that take ports at random, two would else have some dozens of them in
// common.
func TestNobodyGetsAPortTwice(t *testing.T) {
	const each = 300
	given := make(map[string]bool)
	give := func(port string) {
		t.Helper()
		if given[port] {
			t.Errorf("%s was given twice", port)
		}
		given[port] = true
	}
	for range 2 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), env+"="+strconv.Itoa(each))
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
		for lines := bufio.NewScanner(out); lines.Scan(); {
			give(lines.Text())
		}
	}
	for range each {
		port, release, err := Take()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		give(strconv.Itoa(port))
	}
	if len(given) != 3*each {
		t.Errorf("%d ports were given, want %d", len(given), 3*each)
	}
}

func TestRelease(t *testing.T) {
	one, release, err := Take()
	if err != nil {
		t.Fatal(err)
	}
	release()
	if taken[one] {
		t.Error("it is still taken")
	}
	taken[one] = true // somebody else's by now
	if release(); !taken[one] {
		t.Error("it was released twice")
	}
	delete(taken, one)
}

func TestListen(t *testing.T) {
	first, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := first.Addr().(*net.TCPAddr)
	if !listens(addr.Port) {
		t.Error("nobody listens")
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = first.Close() })
	again, err := Listen(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if listens(addr.Port) {
		t.Error("somebody listens")
	}
}
