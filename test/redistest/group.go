package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Replica makes the server a copy of another one, to which nobody can write.
func (s *Server) Replica(of *Server) {
	s.t.Helper()
	s.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(of.Port))
}

// Sync waits until the replica has what its master has.
func (s *Server) Sync() {
	s.t.Helper()
	if err := s.wait(func(context.Context) bool {
		return s.Info("Replication", "master_link_status") == "up"
	}); err != nil {
		s.t.Fatal(err)
	}
}

// StartSentinel runs a sentinel that watches a master under a name, alone, and makes
// its replica the master when it does not answer for some hundred milliseconds.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "sentinel.conf")
	conf := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]d 1\nsentinel down-after-milliseconds %[1]s 300\n"+
		"sentinel failover-timeout %[1]s 2000\n", name, master.Port)
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startWith(t, path, "--sentinel")
	if err := s.wait(func(context.Context) bool {
		return strings.Contains(fmt.Sprint(s.Do("SENTINEL", "REPLICAS", name)), "127.0.0.1")
	}); err != nil {
		t.Fatalf("the sentinel finds no replica: %v", err)
	}
	return s
}

// StartCluster runs a cluster of masters, which share the slots evenly.
func StartCluster(t testing.TB, masters int) []*Server {
	t.Helper()
	const slots = 16384
	nodes := make([]*Server, masters)
	for i := range nodes {
		nodes[i] = Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf")
		nodes[i].Do("CLUSTER", "ADDSLOTSRANGE", i*slots/masters, (i+1)*slots/masters-1)
		nodes[i].Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i > 0 {
			nodes[i].Do("CLUSTER", "MEET", "127.0.0.1", nodes[0].Port)
		}
	}
	for _, node := range nodes {
		if err := node.wait(func(context.Context) bool {
			info := fmt.Sprint(node.Do("CLUSTER", "INFO"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters))
		}); err != nil {
			t.Fatalf("the cluster does not come about: %v", err)
		}
	}
	return nodes
}
