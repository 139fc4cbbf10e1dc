package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A transport may begin to read when it has given up already. The body is the next
// attempt's by then.
func TestBodyIsNotReadAfterTheAttempt(t *testing.T) {
	inner := io.NopCloser(strings.NewReader("whole"))
	first := &requestBody{a: &attempt{}, inner: inner}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 2)); n != 0 || !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if rest, err := io.ReadAll(inner); string(rest) != "whole" || err != nil {
		t.Errorf("the next attempt finds %q, %v", rest, err)
	}
}
