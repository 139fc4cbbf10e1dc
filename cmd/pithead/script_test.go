// The scripts in testdata/script run the whole program. Beside the commands of
// testscript they have these; `!` before one means that it must fail.
//
// The daemon, at most one at a time. Its variables are $WEB, $WEB2 and $ADMIN:
// free addresses on loopback. What it writes is in daemon.out and daemon.log.
//
//	start [NAME=VALUE...] ARG...   run `pithead ARG...` until it serves
//	signal NAME                    send it SIGNAME
//	exited STATUS                  wait for its end with that exit status
//	end                            signal TERM, then exited 0
//
// What stands behind it, see script_backend_test.go and script_consul_test.go:
//
//	backend [FLAG] NAME [VARIABLE]   serve on a free port, or again on the old one; its address is in
//	                                 $VARIABLE, by default NAME in upper case; FLAG is -h2c, or -tls PATH
//	                                 with PATH.pem and PATH.key
//	down NAME                        close the backend: connections are refused
//	health NAME STATUS               what the backend answers to /healthz
//	release NAME                     let one request go that the backend holds
//	got NAME COUNT                   the backend has had that many requests, checks of /healthz apart
//	consul WHAT ARG...               a Consul to discover from; its URL is in $CONSUL
//
// A client, see script_client_test.go. Of an answer, stdout has the body, and
// stderr the head, the trailers and the certificate. STATUS is a number,
// `refused` (no connection) or `broken` (the answer broke off).
//
//	http [FLAG...] STATUS METHOD URL [HEADER...]   ask and compare the status
//	begin [FLAG...] METHOD URL [HEADER...]         ask in the background
//	say TEXT                                       send a piece of its body, after begin -stream
//	partial PATTERN                                what has come of its answer matches
//	finish STATUS                                  wait for the end of its answer, as http does
//	leave                                          break it off
//	raw ADDRESS FILE                               send the file's lines as they are, ended by CRLF
//	websocket URL TEXT...                          each text must come back
//
// What can be seen of it:
//
//	metric SERIES VALUE            the sum of all series with at least these labels; VALUE may begin with > or <
//	json PATH VALUE FILE           the value at a.b.0.c in the last JSON line of FILE, or in stdout
//
// And tools:
//
//	wait-for COMMAND               repeat one of these, `grep` or `exec` until it succeeds
//	expand FILE...                 replace $VARIABLES in files
//	certs FOLDER NAME...           make FOLDER/NAME.pem and .key for each host, and FOLDER/ca.pem
//	keys FILE KID...               write a JWK Set of keys under these names
//	token VARIABLE KID [CLAIM=VALUE...]   make a JWT that the key under that name signs, see script_token_test.go
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/test/freeport"
)

var update = flag.Bool("update", false, "write into the scripts what their cmp commands have got")

// patience is far more than anything here takes; it only bounds a failing test.
const patience = 20 * time.Second

func TestScript(t *testing.T) {
	all := make(map[string]func(ts *testscript.TestScript, neg bool, args []string))
	for name, run := range commands() {
		all[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			s := ts.Value(scriptKey{}).(*script)
			s.TestScript = ts
			out, err := run(s, args)
			if out != (output{}) { // else that of the last command stays
				_, _ = fmt.Fprint(ts.Stdout(), out.stdout) // both are in memory
				_, _ = fmt.Fprint(ts.Stderr(), out.stderr)
			}
			switch {
			case neg && err == nil:
				ts.Fatalf("unexpected success")
			case !neg && err != nil:
				ts.Fatalf("%s: %v", name, err)
			case neg:
				ts.Logf("%v", err)
			}
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: all, Setup: setup, WorkdirRoot: t.TempDir(),
		RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
	})
}

// command is a command of scripts. Its output counts even when it fails.
type command func(s *script, args []string) (output, error)

type output struct{ stdout, stderr string }

func commands() map[string]command {
	return map[string]command{
		"start": start, "signal": signalDaemon, "exited": exited, "end": end,
		"backend": startBackend, "down": down, "health": health, "release": release, "got": got, "consul": consul,
		"http": httpCommand, "begin": begin, "say": say, "partial": partial, "finish": finish, "leave": leave,
		"raw": raw, "websocket": webSocket,
		"metric": metric, "json": jsonValue,
		"wait-for": waitFor, "expand": expand, "certs": certs, "keys": keySet, "token": token,
	}
}

// script is what a script has beside its files.
type script struct {
	*testscript.TestScript
	names    []string // of all variables
	daemon   *daemon
	backends map[string]*backend
	consul   *discoverytest.Consul
	request  *exchange // in the background
}

type scriptKey struct{}

func setup(env *testscript.Env) error {
	s := &script{backends: make(map[string]*backend)}
	env.Values[scriptKey{}] = s
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run of pithead lasts a second longer
	for _, name := range []string{"WEB", "WEB2", "ADMIN"} {
		env.Setenv(name, freeAddress())
	}
	env.Setenv("PITHEAD_ADMIN", env.Getenv("ADMIN"))
	for _, pair := range env.Vars {
		s.names = append(s.names, regexp.MustCompile(`^[^=]*`).FindString(pair))
	}
	env.Defer(func() {
		if s.request != nil {
			s.request.cancel()
			<-s.request.done
		}
		err := s.kill()
		for _, b := range s.backends {
			b.close()
		}
		if s.consul != nil {
			s.consul.Close()
		}
		if err != nil {
			env.T().Fatal(err)
		}
	})
	return nil
}

// set gives the script a variable, which the daemon will have too.
func (s *script) set(name, value string) {
	s.Setenv(name, value)
	s.names = append(s.names, name)
}

// freeAddress is one on loopback that nobody else gets while this process lives.
func freeAddress() string {
	port, _, err := freeport.Take()
	if err != nil {
		panic(err) // there is no test that could be told
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

func waitFor(s *script, args []string) (out output, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if out, err = repeatable(s, args); err == nil {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("not within %s: %w", patience, err)
		case <-tick.C:
		}
	}
}

func repeatable(s *script, args []string) (out output, err error) {
	negated := len(args) > 0 && args[0] == "!"
	if negated {
		args = args[1:]
	}
	if len(args) == 0 {
		return output{}, errUsage
	}
	run, known := commands()[args[0]]
	switch {
	case known:
		out, err = run(s, args[1:])
	case args[0] == "grep":
		out, err = grep(s, args[1:])
	case args[0] == "exec" && len(args) > 1:
		err = s.Exec(args[1], args[2:]...)
	default:
		return output{}, fmt.Errorf("%s cannot be repeated", args[0])
	}
	if negated && err == nil {
		return out, errors.New("unexpected success")
	} else if negated {
		err = nil
	}
	return out, err
}

var errUsage = errors.New("wrong arguments; see the top of script_test.go")

func grep(s *script, args []string) (output, error) {
	if len(args) != 2 {
		return output{}, errUsage
	}
	text, err := os.ReadFile(s.MkAbs(args[1]))
	if err != nil {
		return output{}, err
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return output{}, err
	}
	if !pattern.Match(text) {
		return output{}, fmt.Errorf("no match for %q in %s:\n%s", args[0], args[1], text)
	}
	return output{}, nil
}

func expand(s *script, args []string) (output, error) {
	for _, name := range args {
		text, err := os.ReadFile(s.MkAbs(name))
		if err != nil {
			return output{}, err
		}
		if err := os.WriteFile(s.MkAbs(name), []byte(os.Expand(string(text), s.Getenv)), 0o600); err != nil {
			return output{}, err
		}
	}
	return output{}, nil
}
