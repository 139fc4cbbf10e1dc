package hostile_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler)) // net/http tells of bytes that nobody asked for
	goleak.VerifyTestMain(m)
}
