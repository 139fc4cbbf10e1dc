package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	pid, ppid, ticks, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 1000 10\n")
	if err != nil || pid != 42 || ppid != 7 || ticks != 300 {
		t.Errorf("pid %d, parent %d, %d ticks, %v", pid, ppid, ticks, err)
	}
	for _, text := range []string{"", "42", "42 (a", "42 (a) S 7"} {
		if _, _, _, err := parseStat(text); err == nil {
			t.Errorf("%q is taken for a stat line", text)
		}
	}
}

func TestProcessCountsItsChildren(t *testing.T) {
	p, err := startOn(0, "/", "sh", "-c", "sh -c 'while :; do :; done' & wait")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	used := time.Duration(0)
	for deadline := time.Now().Add(20 * time.Second); used < 100*time.Millisecond && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
		if used, err = p.cpu(); err != nil {
			t.Fatal(err)
		}
	}
	if used < 100*time.Millisecond { // the shell that was started itself only waits
		t.Errorf("%v of CPU are seen", used)
	}
	if bytes, err := p.memory(); err != nil || bytes < 1<<18 {
		t.Errorf("%d bytes of memory, %v", bytes, err)
	}
	if kb, err := residentKB(os.Getpid()); err != nil || kb < 1<<10 {
		t.Errorf("this process has %d KiB, %v", kb, err)
	}
}
