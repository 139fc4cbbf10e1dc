package store

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/test/redistest"
)

// What one gateway tells the others know soon, and those that come later know it when they begin.
func TestJournal(t *testing.T) {
	server := redistest.Start(t)
	one, two := joined(t, at(server)), joined(t, at(server))
	start := time.Now()
	if err := one.tell("a", "b"); err != nil {
		t.Fatal(err)
	}
	two.knows("a", "b")
	t.Logf("known to the other after %s", time.Since(start))
	if err := two.tell("c"); err != nil {
		t.Fatal(err)
	}
	one.knows("a", "b", "c")
	if got := joined(t, at(server)).names(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("a gateway that has begun knows %q", got)
	}
	o := at(server)
	o.Prefix = "other"
	if got := joined(t, o).names(); got != nil {
		t.Errorf("one with another prefix knows %q", got)
	}
	if ago, ever := one.Heard(); !ever || ago > 20*time.Second {
		t.Errorf("heard %s ago, %t", ago, ever)
	}
}

// What is told while the store is away, or was in it when it lost all, is known to everybody afterwards.
func TestJournalAway(t *testing.T) {
	server := redistest.Start(t)
	one, two := joined(t, at(server)), joined(t, at(server))
	if err := one.tell("a"); err != nil {
		t.Fatal(err)
	}
	two.knows("a")
	server.Kill()
	await(t, "the store is away", func() bool { return one.tell("b") != nil && !one.redis.Ready() })
	if err := one.tell("c"); !errors.Is(err, ErrAway) {
		t.Errorf("told %v", err)
	}
	if got := two.names(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("the other knows %q", got)
	}
	ago, _ := one.Heard()
	await(t, "the age grows", func() bool { later, _ := one.Heard(); return later > ago })
	if err := one.Close(); err != nil { // what it has not told is lost with it, and what others know is not
		t.Error(err)
	}
	server.Restart()
	three := newGateway(t, at(server), 1000)
	three.Learn(Entry{"d", time.Now(), time.Now().Add(time.Hour)}) // from a time before it had a store
	three.Start()
	three.knows("a", "d")
	two.knows("a", "d")
}

func TestJournalCatchesUp(t *testing.T) {
	server := redistest.Start(t)
	one, two := joined(t, at(server)), joined(t, at(server))
	server.Pause()
	await(t, "the store is away", func() bool { return one.tell("a") != nil && !one.redis.Ready() })
	one.tell("b")
	server.Resume()
	await(t, "others know", func() bool { return slices.Contains(two.names(), "b") && slices.Contains(two.names(), "a") })
}

// lost is a store that has forgotten something, as one has whose master died before its replica
// had everything.
func TestJournalLost(t *testing.T) {
	f := func(name string, want []string, lose func(*redistest.Server, string)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			one, two := joined(t, at(server)), joined(t, at(server))
			if err := one.tell("a", "b", "c"); err != nil {
				t.Fatal(err)
			}
			two.knows("a", "b", "c")
			lose(server, one.key)
			await(t, "it is filled again", func() bool {
				n, _ := server.Do("ZCARD", one.key).(int64)
				return n >= 3
			})
			if err := two.tell("e"); err != nil {
				t.Fatal(err)
			}
			joined(t, at(server)).knows(want...)
			one.knows(want...)
		})
	}
	all := []string{"a", "b", "c", "e"}
	f("everything", all, func(s *redistest.Server, _ string) { s.Do("FLUSHALL") })
	f("the last entry", all, func(s *redistest.Server, key string) { s.Do("ZPOPMAX", key) })
	f("the last entry, and has another in its place", []string{"a", "b", "c", "d", "e"}, func(s *redistest.Server, key string) {
		s.Do("EVAL", `redis.call('ZPOPMAX', KEYS[1]) redis.call('ZADD', KEYS[1], 3, ARGV[1])`, 1, key,
			Entry{"d", time.Now(), time.Now().Add(time.Hour)}.text())
	})
}

// A master dies with what its replica never got.
func TestJournalFailover(t *testing.T) {
	master, replica := redistest.Start(t), redistest.Start(t, "--repl-diskless-sync-delay", "0")
	replica.Replica(master)
	replica.Sync()
	o := at(redistest.StartSentinel(t, "logins", master))
	o.Master, o.Timeout = "logins", 100*time.Millisecond
	one, two := joined(t, o), joined(t, o)
	await(t, "it is told", func() bool { return one.tell("a") == nil })
	master.Do("WAIT", 1, 5000)
	replica.Do("REPLICAOF", "127.0.0.1", 1) // it is cut off
	await(t, "it is told", func() bool { return one.tell("b") == nil })
	master.Kill()
	await(t, "the new master has both", func() bool {
		if replica.Info("Replication", "role") != "master" {
			return false
		}
		text := fmt.Sprint(replica.Do("ZRANGE", one.key, 0, -1))
		return strings.Contains(text, "a:") && strings.Contains(text, "b:")
	})
	await(t, "the other knows", func() bool { return slices.Contains(two.names(), "b") })
}

// There are more entries than fit into an answer, and more than there may be.
func TestJournalIsBounded(t *testing.T) {
	server := redistest.Start(t)
	one := newGateway(t, at(server), 450)
	for i := range 900 {
		one.Learn(Entry{"n" + strconv.Itoa(i), time.Now(), time.Now().Add(time.Hour)})
	}
	soon(t, "all is told", one.Start())
	two := newGateway(t, at(server), 450)
	soon(t, "all is read", two.Start())
	if n := len(two.Entries()); n != 450 {
		t.Errorf("%d entries, want 450", n)
	}
	if n, _ := server.Do("ZCARD", one.key).(int64); n != 450 {
		t.Errorf("the store has %d, want 450", n)
	}
	if two.learned > 2*450 {
		t.Errorf("it has read %d entries for 450", two.learned)
	}
}

// Entries go when their time is over, and the key with the last of them.
func TestJournalForgets(t *testing.T) {
	server := redistest.Start(t)
	one := joined(t, at(server))
	tell := func(name string, life time.Duration) {
		t.Helper()
		if err := one.Tell(t.Context(), Entry{name, time.Now(), time.Now().Add(life)}); err != nil {
			t.Fatal(err)
		}
	}
	tell("past", -time.Second)
	if n := server.Do("EXISTS", one.key); n != int64(0) {
		t.Error("it was told of what is over")
	}
	tell("short", 100*time.Millisecond)
	<-time.After(150 * time.Millisecond)
	tell("long", 2*time.Second)
	if text := fmt.Sprint(server.Do("ZRANGE", one.key, 0, -1)); strings.Contains(text, "short") || !strings.Contains(text, "long") {
		t.Errorf("the store has %s", text)
	}
	if left, _ := server.Do("PTTL", one.key).(int64); left <= 0 || left > 3000 {
		t.Errorf("the key goes in %d ms", left)
	}
	await(t, "the key goes", func() bool { return server.Do("EXISTS", one.key) == int64(0) })
	tell("later", time.Hour)
	if n, _ := server.Do("ZCARD", one.key).(int64); n != 1 {
		t.Errorf("the store has %d entries", n)
	}
}

// What else is under the key is no entry, and does not stop those that are.
func TestJournalWithOtherThings(t *testing.T) {
	server := redistest.Start(t)
	one := joined(t, at(server))
	for i, text := range []string{"", "a", "a:1", ":1:2", "a:x:9", "a:1:x", "a:1:2:3", "a:1:99999999999999999999"} {
		server.Do("ZADD", one.key, i+1, text)
	}
	if err := one.tell("z"); err != nil {
		t.Fatal(err)
	}
	joined(t, at(server)).knows("z")
	t.Run("a key of another type", func(t *testing.T) {
		server.Do("DEL", one.key)
		server.Do("SET", one.key, "x")
		if err := one.tell("y"); err == nil {
			t.Error("it was told")
		}
		server.Do("DEL", one.key)
		joined(t, at(server)).knows("y", "z")
	})
}

func TestReadPage(t *testing.T) {
	f := func(name string, answer any, want page, bad bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			got, err := readPage(answer)
			if errors.Is(err, ErrAnswer) != bad {
				t.Fatalf("the error is %v", err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(page{})); !bad && diff != "" {
				t.Error(diff)
			}
		})
	}
	f("empty", []any{int64(0), []any{}}, page{}, false)
	f("two", []any{int64(1), []any{"a:1:2", "7", "b:1:2", "8"}}, page{true, []string{"a:1:2", "b:1:2"}, "8"}, false)
	f("text", "OK", page{}, true)
	f("nothing", nil, page{}, true)
	f("one part", []any{int64(0)}, page{}, true)
	f("no list", []any{int64(0), "x"}, page{}, true)
	f("odd", []any{int64(0), []any{"a"}}, page{}, true)
	f("no number", []any{int64(0), []any{"a", "inf"}}, page{}, true)
	f("numbers", []any{int64(0), []any{int64(1), "1"}}, page{}, true)
	f("too many", []any{int64(0), make([]any, 2*portion+2)}, page{}, true)
}
