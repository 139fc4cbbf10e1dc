package hostile_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
)

// row is one hostile request and what must become of it. The client is always
// to blame for what fails: the endpoint's failures stay as they are.
type row struct {
	name   string
	in     string
	status int    // 0 is a closed connection without an answer
	reason string // in the access log; "" when nothing fails, or when the server answers before the gateway does
	open   bool   // the connection goes on, and in step
	to     string // method and target as the upstream has them; "" is nothing at all
	// aborted says that the upstream may see a beginning, but never a whole request.
	aborted bool
	route   string                             // in the access log
	check   func(t *testing.T, m *message)     // what else the upstream must have got
	logged  func(t *testing.T, line logLine)   // what else the log must say
	answer  func(t *testing.T, got *answerMsg) // what else the client must have got
}

// run sends every row on a connection of its own.
func (e *edge) run(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { e.one(t, &r) })
	}
	if n := e.metric(t, `panics_total`); n != 0 {
		t.Errorf("%v panics", n)
	}
	if n := e.metric(t, `endpoint_failures_total\{[^}]*\}`); n != 0 {
		t.Errorf("%v failures of the endpoint, all of them caused by clients", n)
	}
}

func (e *edge) one(t *testing.T, r *row) {
	t.Helper()
	bytesBefore, attemptsBefore, failuresBefore := e.upstream.got.Load(), e.attempts(), e.failures()
	c := e.dial(t)
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, r.in) }() // the gateway may refuse before it has read all
	method, _, _ := strings.Cut(r.in, " ")
	br := bufio.NewReader(c)
	got, err := readAnswer(br, method)
	if r.status == 0 {
		if err == nil {
			t.Errorf("got %d, want a closed connection", got.status)
		}
		return
	}
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if got.status != r.status {
		t.Errorf("got %d %s, want %d", got.status, got.body, r.status)
	}
	if r.answer != nil {
		r.answer(t, got)
	}
	seen := e.checkUpstream(t, r, bytesBefore, attemptsBefore)
	e.checkLog(t, r, got, seen)
	if r.open {
		e.probe(t, c, br)
	} else if err := readEnd(br); err != nil {
		t.Errorf("the connection is not closed: %v", err)
	}
	if n := e.failures(); n != failuresBefore {
		t.Errorf("the endpoint is blamed for %d failures", n-failuresBefore)
	}
}

// checkUpstream compares what has arrived.
func (e *edge) checkUpstream(t *testing.T, r *row, bytesBefore int64, attemptsBefore uint64) *message {
	t.Helper()
	defer e.upstream.checkStrict(t)
	if r.to != "" {
		m := e.upstream.wait(t)
		if got := m.method + " " + m.target; got != r.to {
			t.Errorf("the upstream got %q, want %q", got, r.to)
		}
		if r.check != nil {
			r.check(t, m)
		}
		return m
	}
	if m := e.upstream.next(); m != nil {
		t.Errorf("the upstream got %q", m.method+" "+m.target)
	}
	if r.aborted {
		return nil
	}
	if n := e.attempts() - attemptsBefore; n != 0 {
		t.Errorf("%d attempts to send it upstream", n)
	}
	if n := e.upstream.got.Load() - bytesBefore; n != 0 {
		t.Errorf("the upstream got %d bytes", n)
	}
	return nil
}

// checkLog finds the line of the request, if it came so far that there is one.
func (e *edge) checkLog(t *testing.T, r *row, got *answerMsg, seen *message) {
	t.Helper()
	id := got.problem(t).ID
	if seen != nil {
		id = seen.values("X-Request-Id")[0]
	}
	if id == "" {
		if r.reason != "" {
			t.Errorf("the answer %q has no request id", got.body)
		}
		return
	}
	line := e.log.line(t, id)
	if line.Status != got.status || line.Reason != r.reason || line.Reason != "" && line.Cause != "client" {
		t.Errorf("logged as %s, want status %d, reason %q, cause client", line.Raw, got.status, r.reason)
	}
	if r.route != "" && line.Route != r.route {
		t.Errorf("route %q, want %q", line.Route, r.route)
	}
	if r.logged != nil {
		r.logged(t, line)
	}
}

// probe shows that a connection goes on with the next request.
func (e *edge) probe(t *testing.T, c net.Conn, br *bufio.Reader) {
	t.Helper()
	if _, err := io.WriteString(c, "GET /probe HTTP/1.1\r\nHost: probe\r\n\r\n"); err != nil {
		t.Errorf("the connection is closed: %v", err)
		return
	}
	got, err := readAnswer(br, "GET")
	if err != nil {
		t.Errorf("the connection is closed: %v", err)
		return
	}
	if m := e.upstream.wait(t); got.status != 200 || m.target != "/probe" {
		t.Errorf("the next request got %d, and came upstream as %q", got.status, m.target)
	}
}

// readEnd reads up to the end of a connection that has nothing more to say.
func readEnd(br *bufio.Reader) error {
	rest, err := io.ReadAll(br)
	if isTimeout(err) {
		return err
	}
	if len(rest) > 0 { // a reset is as good an end as any
		return fmt.Errorf("there is more: %q", rest)
	}
	return nil
}

// answerMsg is an answer as a client reads it.
type answerMsg struct {
	status   int
	interim  []int
	fields   []field
	trailers []field
	body     string
}

func (a *answerMsg) values(name string) []string { return (&message{fields: a.fields}).values(name) }

// problemDoc is what the gateway says when it refuses.
type problemDoc struct {
	ID     string `json:"request_id"`
	Reason string
	Detail string
}

func (a *answerMsg) problem(tb testing.TB) (p problemDoc) {
	tb.Helper()
	if ct := a.values("Content-Type"); len(ct) == 1 && ct[0] == "application/problem+json" && a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			tb.Errorf("%q is no problem document: %v", a.body, err)
		}
	}
	return p
}

// readAnswer reads a final answer and what comes before it, as strictly as the
// upstream reads requests.
func readAnswer(r *bufio.Reader, method string) (*answerMsg, error) {
	a := &answerMsg{}
	for {
		line, err := readLine(r)
		if err != nil {
			return nil, err
		}
		version, rest, _ := strings.Cut(line, " ")
		code, _, ok := strings.Cut(rest, " ")
		if a.status, err = strconv.Atoi(code); err != nil || !ok || len(code) != 3 || version != "HTTP/1.1" && version != "HTTP/1.0" {
			return nil, fmt.Errorf("status line %q", line)
		}
		if a.fields, err = readFields(r); err != nil {
			return nil, err
		}
		if a.status >= 200 || a.status == 101 {
			break
		}
		a.interim = append(a.interim, a.status)
	}
	if method == "HEAD" || a.status == 204 || a.status == 304 || a.status < 200 {
		return a, nil
	}
	length, coding := a.values("Content-Length"), a.values("Transfer-Encoding")
	if len(length)+len(coding) > 1 {
		return nil, fmt.Errorf("ambiguous framing in %q", a.fields)
	}
	if len(length)+len(coding) == 0 {
		rest, err := io.ReadAll(r)
		a.body = string(rest)
		if err != nil && !isReset(err) {
			return nil, err
		}
		return a, nil
	}
	m := &message{fields: a.fields}
	err := m.readBody(r)
	a.body, a.trailers = m.body, m.trailers
	return a, err
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func isReset(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && !e.Timeout()
}

// get is a GET of a target with further lines.
func get(target string, lines ...string) string { return request("GET", target, lines...) }

// request is a request for the host a.example without a body.
func request(method, target string, lines ...string) string {
	return method + " " + target + " HTTP/1.1\r\nHost: a.example\r\n" + joinLines(lines) + "\r\n"
}

// post is a request with a body; the lines must announce it.
func post(target, body string, lines ...string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: a.example\r\n" + joinLines(lines) + "\r\n" + body
}

func chunked(target, body string) string { return post(target, body, "Transfer-Encoding: chunked") }

func joinLines(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l + "\r\n")
	}
	return b.String()
}

// exchange sends one request on a connection of its own.
func (e *edge) exchange(tb testing.TB, in string) *answerMsg {
	tb.Helper()
	c := e.dial(tb)
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, in) }()
	method, _, _ := strings.Cut(in, " ")
	got, err := readAnswer(bufio.NewReader(c), method)
	if err != nil {
		tb.Fatalf("no answer to %q: %v", in, err)
	}
	return got
}
