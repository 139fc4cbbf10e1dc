package hostile_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// message is a request as the upstream has read it.
type message struct {
	method, target string
	fields         []field
	body           string
	trailers       []field
}

type field struct{ name, value string }

// values are the values of all lines of that name, in any case.
func (m *message) values(name string) []string {
	var all []string
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			all = append(all, f.value)
		}
	}
	return all
}

func (m *message) upgrade() bool { return len(m.values("Upgrade")) > 0 }

// readHead reads a request up to its empty line. It accepts only what every
// reader understands in the same way: no server of any age may see another
// request in it.
func readHead(r *bufio.Reader) (*message, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 || parts[2] != "HTTP/1.1" {
		return nil, fmt.Errorf("request line %q", line)
	}
	m := &message{method: parts[0], target: parts[1]}
	if !isName(m.method, "!#$%&'*+-.^_`|~") || m.method != strings.ToUpper(m.method) {
		return nil, fmt.Errorf("method %q", m.method)
	}
	if err := strictTarget(m.target); err != nil {
		return nil, err
	}
	if m.fields, err = readFields(r); err != nil {
		return nil, err
	}
	if err := m.strictFields(); err != nil {
		return nil, fmt.Errorf("%w in %q", err, m.fields)
	}
	return m, nil
}

// errLine is for a line that ends otherwise than in CRLF.
var errLine = errors.New("line without CRLF")

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if line != "" && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("%w: %q", errLine, line)
	}
	return line, nil
}

func readFields(r *bufio.Reader) ([]field, error) {
	var all []field
	for {
		line, err := readLine(r)
		if err != nil || line == "" {
			return all, err
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok && strings.HasSuffix(line, ":") {
			name, ok = line[:len(line)-1], true
		}
		if !ok || !isName(name, "-") {
			return nil, fmt.Errorf("header line %q", line)
		}
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return nil, fmt.Errorf("header line %q holds a control character", line)
			}
		}
		all = append(all, field{name, value})
	}
}

// isName accepts letters, digits and the characters of more.
func isName(s, more string) bool {
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && !strings.Contains(more, s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// neverUpstream are names that only confuse an upstream about who asked for
// what, or that belong to the connection of the client.
var neverUpstream = []string{
	"Forwarded", "Http2-Settings", "Keep-Alive", "Proxy", "Proxy-Authorization", "Proxy-Connection",
	"X-Forwarded", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Real-Ip", "X-Rewrite-Url",
}

// once are names of which a request has exactly one; the upstream learns from
// them who asked.
var once = []string{"Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id"}

// atMostOnce are names of which two readers could choose different lines.
var atMostOnce = []string{
	"Authorization", "Connection", "Content-Length", "Content-Type", "Cookie", "Expect", "Origin", "Range", "Referer",
	"Te", "Transfer-Encoding", "Upgrade", "User-Agent",
}

func (m *message) strictFields() error {
	for _, name := range once {
		if v := m.values(name); len(v) != 1 || v[0] == "" {
			return fmt.Errorf("%d lines of %s", len(v), name)
		}
	}
	for _, name := range atMostOnce {
		if v := m.values(name); len(v) > 1 {
			return fmt.Errorf("%d lines of %s", len(v), name)
		}
	}
	for _, f := range m.fields {
		name := strings.ToLower(f.name)
		if slices.ContainsFunc(neverUpstream, func(n string) bool { return strings.EqualFold(n, name) }) ||
			strings.HasPrefix(name, "x-original-") ||
			strings.HasPrefix(name, "x-forwarded-") && !slices.ContainsFunc(once, func(n string) bool { return strings.EqualFold(n, name) }) {
			return fmt.Errorf("a line of %s", f.name)
		}
	}
	host := m.values("Host")[0]
	if !isName(host, "-._:[]") || host != strings.ToLower(host) || host != m.values("X-Forwarded-Host")[0] {
		return fmt.Errorf("host %q", host)
	}
	return m.strictFraming()
}

func (m *message) strictFraming() error {
	length, coding := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(length) == 1 && len(coding) == 1:
		return errors.New("both Content-Length and Transfer-Encoding")
	case len(coding) == 1 && coding[0] != "chunked":
		return fmt.Errorf("Transfer-Encoding %q", coding[0])
	case len(length) == 1:
		if n, err := strconv.ParseUint(length[0], 10, 63); err != nil || strconv.FormatUint(n, 10) != length[0] {
			return fmt.Errorf("Content-Length %q", length[0])
		}
	}
	connection := strings.ToLower(strings.Join(m.values("Connection"), ","))
	if m.upgrade() {
		if connection != "upgrade" || !strings.EqualFold(m.values("Upgrade")[0], "websocket") || len(length)+len(coding) > 0 {
			return errors.New("an upgrade that is no WebSocket handshake")
		}
	} else if connection != "" && connection != "close" {
		return fmt.Errorf("Connection %q", connection)
	}
	if te := m.values("Te"); len(te) == 1 && te[0] != "trailers" {
		return fmt.Errorf("TE %q", te[0])
	}
	return nil
}

// strictTarget accepts a canonical path with a query that parsers split alike.
// One route may have characters in its paths that others must not have.
func strictTarget(target string) error {
	path, query, _ := strings.Cut(target, "?")
	bad := fmt.Errorf("target %q", target)
	raw, never := "-._~/!$&'()*+,:=@", `/\%;?#-._~`
	if strings.HasPrefix(path, "/encoded/") {
		raw, never = raw+";", `\?#-._~`
	}
	if path == "" || path[0] != '/' {
		return bad
	}
	var decoded []byte
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			if !isName(path[i:i+1], raw) {
				return bad
			}
			decoded = append(decoded, c)
			continue
		}
		if i+3 > len(path) || strings.ToUpper(path[i:i+3]) != path[i:i+3] {
			return bad
		}
		n, err := strconv.ParseUint(path[i+1:i+3], 16, 8)
		if err != nil || n < ' ' || n == 0x7f || n < 0x80 && isName(string(rune(n)), never) {
			return bad
		}
		decoded = append(decoded, byte(n))
		i += 2
	}
	segments := strings.Split(string(decoded[1:]), "/")
	for i, s := range segments {
		s, _, _ = strings.Cut(s, ";")
		if s == "." || s == ".." || s == "" && i < len(segments)-1 {
			return bad
		}
	}
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' || c == ';' {
			return bad
		}
	}
	if !utf8.Valid(decoded) {
		return bad
	}
	return nil
}

// readBody reads what the head has announced.
func (m *message) readBody(r *bufio.Reader) error {
	if length := m.values("Content-Length"); len(length) == 1 {
		n, err := strconv.ParseInt(length[0], 10, 64)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(io.LimitReader(r, n))
		m.body = string(body)
		if err == nil && int64(len(body)) < n {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if len(m.values("Transfer-Encoding")) == 0 {
		return nil
	}
	for {
		line, err := readLine(r)
		if err != nil {
			return noEOF(err)
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil || strconv.FormatUint(n, 16) != line {
			return fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			m.trailers, err = readFields(r)
			return noEOF(err)
		}
		chunk := make([]byte, n)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return noEOF(err)
		}
		m.body += string(chunk)
		if line, err := readLine(r); err != nil || line != "" {
			return noEOF(errors.Join(err, fmt.Errorf("chunk ends with %q", line)))
		}
	}
}

// noEOF marks an end in the middle of a body.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// brokenOff says whether the end of the connection ended the reading, which is
// how a gateway gives up a request in the middle.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || isNetError(err)
}
