package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// TestMain makes the test binary stand in for the program: whatever a test or a
// script runs as `pithead` is this binary again, race detector included. `curl`
// is as much of curl as the printed examples use.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"pithead": main, "curl": curl, "probe": probeRole})
}

type leakChecked struct{ m *testing.M }

func (c leakChecked) Run() int {
	status := c.m.Run()
	if status != 0 {
		return status
	}
	if err := goleak.Find(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err) // the tests have ended, there is no t to tell
		return 1
	}
	return 0
}
