package shared

import (
	"testing"
	"time"

	"github.com/pithead/pithead/test/redistest"
)

// A master dies, and sentinels make its replica the master, with the buckets that it has.
func TestFaultFailover(t *testing.T) {
	t.Run("R10: failover", func(t *testing.T) {
		master, replica := redistest.Start(t), redistest.Start(t, "--repl-diskless-sync-delay", "0")
		replica.Replica(master)
		replica.Sync()
		sentinel := redistest.StartSentinel(t, "limits", master)
		o := at(sentinel)
		o.Master, o.Timeout = "limits", time.Second
		s := started(t, o)
		l := limits(s, 0, slow)
		if n := l.admitted(7, 40); n != 40 {
			t.Fatalf("%d pass, want 40", n)
		}
		master.Do("WAIT", 1, 5000)
		master.Kill()
		away(t, l)
		start := time.Now()
		awaitFor(t, 90*time.Second, s.Ready) // a sentinel that was held up trusts nothing for half a minute
		t.Logf("found the new master after %s", time.Since(start))
		if n := l.admitted(7, 100); n < 59 || n > 60 {
			t.Errorf("%d pass at the new master, want the 60 that are left", n)
		}
		if role := replica.Info("Replication", "role"); role != "master" {
			t.Errorf("the replica is a %s", role)
		}
	})
}

// Keys are spread over the masters of a cluster, and each caller's limits are in one place.
func TestCluster(t *testing.T) {
	nodes := redistest.StartCluster(t, 3)
	o := at(nodes[0])
	o.Cluster = true
	one, two := limits(started(t, o), 0, slow, perDay(50)), limits(started(t, o), 0, slow, perDay(50))
	for caller := range 12 {
		if n := one.admitted(caller, 30) + two.admitted(caller, 60); n != 50 {
			t.Errorf("%d of caller %d pass, want 50", n, caller)
		}
	}
	for i, node := range nodes {
		if n, _ := node.Do("DBSIZE").(int64); n == 0 {
			t.Errorf("node %d has no key", i)
		}
	}
}

// R10: a client that takes a node of a cluster for a server, and a cluster that is down, are stores that are away.
func TestFaultCluster(t *testing.T) {
	t.Run("R10: moved", func(t *testing.T) {
		nodes := redistest.StartCluster(t, 3)
		s := gateway(t, at(nodes[0]))
		s.Start()
		l := limits(s, 0, slow)
		await(t, func() bool {
			l.admitted(7, 1)
			_, err := s.Failure()
			return err != nil
		})
		if word, err := s.Failure(); word != "cluster" {
			t.Errorf("the error is %v", err)
		}
	})
	t.Run("R10: a cluster that is down", func(t *testing.T) {
		nodes := redistest.StartCluster(t, 3)
		o := shortly(nodes[0])
		o.Cluster, o.Timeout = true, time.Second
		s := started(t, o)
		l := limits(s, 0, slow)
		nodes[1].Kill()
		// Callers whose node has gone make it known to all.
		await(t, func() bool {
			for caller := range 30 {
				l.admitted(caller, 1)
			}
			return !s.Ready()
		})
		if n := l.admitted(99, 200); n != 100 {
			t.Errorf("%d pass, want all of one gateway", n)
		}
		if _, err := s.Failure(); err == nil {
			t.Error("no error is known")
		} else {
			t.Log(err)
		}
	})
}
