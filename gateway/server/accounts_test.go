package server

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestKeysRotate on disk, without anybody asking for a reload, while callers with
// a key that stays go on; a file with a mistake changes nothing.
func TestKeysRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	line := func(id string) string {
		return fmt.Sprintf("{\"id\": %q, \"sha256\": \"%x\"}\n", id, sha256.Sum256([]byte(id)))
	}
	put(t, path, line("stays")+line("old"))
	h := whole(t, say("hello"), ", use: [{api_key: {file: "+path+", in: {query: key}}}]")
	want := func(key string, status int) {
		t.Helper()
		if got, _, err := h.get("/?key=" + key); got != status || err != nil {
			t.Errorf("%s: %d %v, want %d", key, got, err, status)
		}
	}
	var failed, asked atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 2 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, _, err := h.get("/?key=stays"); status != http.StatusOK || err != nil {
					failed.Add(1)
				}
				asked.Add(1)
			}
		})
	}
	want("old", 200)
	want("new", 401)
	put(t, path, line("stays")+line("new"))
	h.log.wait(t, "generation=2 ", 1)
	want("old", 401)
	want("new", 200)

	put(t, path, line("stays")+"{\"id\": \"new\"\n")
	h.log.wait(t, "configuration refused", 1)
	want("new", 200)

	next := filepath.Join(filepath.Dir(path), "next")
	put(t, next, line("stays"))
	rename(t, next, path) // as deployments replace files
	h.log.wait(t, "generation=3 ", 1)
	want("new", 401)
	close(stop)
	callers.Wait()
	if failed.Load() != 0 || asked.Load() == 0 {
		t.Errorf("%d of %d requests with the key that stays failed", failed.Load(), asked.Load())
	}
}
