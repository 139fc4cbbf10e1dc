package canon

import (
	"bufio"
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// read parses a request as net/http would, from a peer on 192.0.2.1. Lines are
// given without their CRLF; a Host is added when none is named.
func read(t testing.TB, lines ...string) *http.Request {
	t.Helper()
	if !strings.Contains(strings.ToLower(strings.Join(lines, "\n")), "\nhost:") && strings.HasSuffix(lines[0], "1.1") {
		lines = append(lines, "Host: example.com")
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.Join(lines, "\r\n") + "\r\n\r\n")))
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", lines, err)
	}
	r.RemoteAddr = "192.0.2.1:4711"
	return r
}

// status is what the client gets for err; 0 is no refusal.
func status(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	e, ok := errors.AsType[*gateway.Error](err)
	if !ok {
		t.Fatalf("refused with a %T: %v", err, err)
	}
	if e.Cause != gateway.CauseClient || e.Reason == "" || e.Msg == "" || !e.Close {
		t.Errorf("incomplete refusal: %+v", e)
	}
	return e.Status
}

// refusal makes r canonical under p and returns the status of the refusal.
func refusal(t testing.TB, p *Policy, r *http.Request) int {
	t.Helper()
	_, err := p.Request(r, &gateway.Exchange{})
	return status(t, err)
}
