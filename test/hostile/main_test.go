package hostile_test

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http tells of bytes that nobody asked for
	goleak.VerifyTestMain(m)
}
