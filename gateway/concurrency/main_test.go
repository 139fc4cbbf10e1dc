package concurrency

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// after is when d has passed, in virtual time.
func after(d time.Duration) { <-time.After(d) }
