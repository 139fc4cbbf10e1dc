package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway/kind"
)

const longest = 24 * time.Hour // a longer time is a typo

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]*$`)

// faults collects mistakes, each at the path of its setting.
type faults []error

func (f *faults) at(path, format string, args ...any) {
	*f = append(*f, kind.At(path, format, args...))
}

func (f faults) err() error { return errors.Join(f...) }

// time wants a duration between least and a day.
func (f *faults) time(path string, d, least time.Duration) {
	switch {
	case d < least && least <= time.Nanosecond:
		f.at(path, "must be more than 0s")
	case d < least:
		f.at(path, "%v is less than the least, %v", d, least)
	case d > longest:
		f.at(path, "%v is more than the most, %v", d, longest)
	}
}

func (f *faults) number(path string, n, least, most int) {
	if n < least || n > most {
		f.at(path, "%d is not between %d and %d", n, least, most)
	}
}

func (f *faults) size(path string, n, least, most kind.Size) {
	if n < least || n > most {
		f.at(path, "%v is not between %v and %v", n, least, most)
	}
}

func (f *faults) oneOf(path, value string, known ...string) {
	if !slices.Contains(known, value) {
		f.at(path, "%q is not known here%s", value, cmp.Or(Suggest(value, known), "; known are "+strings.Join(known, ", ")))
	}
}

// Validate checks what a listener says of itself.
func (l *Listener) Validate() error {
	var f faults
	if _, err := parseAddress(l.Address); err != nil {
		f.at("address", "%w", err)
	}
	known := []string{"h1", "h2c"}
	if l.TLS != nil {
		known = []string{"h1", "h2"}
	}
	for i, p := range l.Protocols {
		path := "protocols[" + strconv.Itoa(i) + "]"
		switch {
		case l.TLS == nil && p == "h2":
			f.at(path, "h2 needs tls; without it the name is h2c")
		case l.TLS != nil && p == "h2c":
			f.at(path, "h2c is HTTP/2 without TLS; with tls the name is h2")
		case slices.Contains(l.Protocols[:i], p):
			f.at(path, "%s stands here a second time", p)
		default:
			f.oneOf(path, p, known...)
		}
	}
	return f.err()
}

// Validate checks what a TLS listener says of itself.
func (t *TLS) Validate() error {
	var f faults
	if len(t.Certificates) == 0 {
		f.at("certificates", "at least one certificate is required")
	}
	f.oneOf("min_version", t.MinVersion, "1.2", "1.3")
	return f.err()
}

// Validate wants the names of both files.
func (c *Certificate) Validate() error {
	var f faults
	if c.Cert == "" {
		f.at("cert", "names no file")
	}
	if c.Key == "" {
		f.at("key", "names no file")
	}
	return f.err()
}

// Validate checks the bounds of the bounds.
func (l *Limits) Validate() error {
	var f faults
	f.size("header_bytes", l.HeaderBytes, kind.KiB, kind.MiB)
	f.number("header_fields", l.HeaderFields, 1, 10_000)
	f.size("target", l.Target, 256, kind.MiB)
	f.number("query_params", l.QueryParams, 1, 100_000)
	f.number("cookies", l.Cookies, 1, 10_000)
	f.number("connections", l.Connections, 1, 10_000_000)
	f.number("connections_per_client", l.ConnectionsPerClient, 1, 10_000_000)
	f.number("streams", l.Streams, 1, 10_000)
	return f.err()
}

// Validate checks that every time has an end.
func (t *Timeouts) Validate() error {
	var f faults
	f.time("header", t.Header, 1)
	f.time("body_idle", t.BodyIdle, 1)
	f.size("body_rate", t.BodyRate, 0, kind.GiB)
	f.time("write_idle", t.WriteIdle, 1)
	f.time("idle", t.Idle, 1)
	return f.err()
}

// Validate refuses an admin listener that strangers reach without a token.
func (a *Admin) Validate() error {
	var f faults
	if path, ok := strings.CutPrefix(a.Address, "unix:"); ok {
		if path == "" {
			f.at("address", "unix: names no path")
		}
		return f.err()
	}
	addr, err := parseAddress(a.Address)
	switch {
	case err != nil:
		f.at("address", "%w", err)
	case !addr.loopback() && a.Token == "":
		f.at("address", "%s is reached from other machines; set a token, or listen on 127.0.0.1 or unix:/path", a.Address)
	}
	for i, host := range a.Hosts {
		if err := checkHost(host); err != nil {
			f.at("hosts["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	return f.err()
}

// Validate checks the words.
func (a *AccessLog) Validate() error {
	var f faults
	if a.Output == "" {
		f.at("output", "write stdout, stderr, off or the path of a file")
	}
	f.oneOf("format", a.Format, "json", "text")
	return f.err()
}

// Validate checks that watching the files does not become the main work.
func (r *Reload) Validate() error {
	var f faults
	f.time("debounce", r.Debounce, time.Millisecond)
	f.time("poll", r.Poll, 100*time.Millisecond)
	return f.err()
}

// Validate checks that the end comes.
func (s *Shutdown) Validate() error {
	var f faults
	f.time("delay", s.Delay, 0)
	f.time("lame_duck", s.LameDuck, 0)
	f.time("grace", s.Grace, 0)
	return f.err()
}

// Validate checks what an upstream says of itself.
func (u *Upstream) Validate() error {
	var f faults
	f.oneOf("protocol", u.Protocol, "http", "https", "h2c")
	if u.TLS != nil && u.Protocol != "https" {
		f.at("tls", "needs protocol: https")
	}
	if u.Host != "" {
		if err := checkHostPort(u.Host); err != nil {
			f.at("host", "%w", err)
		}
	}
	for name := range u.Arms {
		if !nameForm.MatchString(name) {
			f.at("arms."+name, "%s", badName(name))
		}
	}
	f.number("max_idle", u.MaxIdle, 1, 100_000)
	return f.err()
}

// Validate refuses an arm without a condition: it would be the whole upstream.
func (a *Arm) Validate() error {
	if a.Tag == "" && len(a.Meta) == 0 {
		return kind.At("", "an arm needs a tag or meta")
	}
	return nil
}

// Validate checks the numbers of a health check.
func (h *Health) Validate() error {
	var f faults
	switch _, err := url.ParseRequestURI(h.Path); {
	case !strings.HasPrefix(h.Path, "/"):
		f.at("path", "%q does not begin with a slash", h.Path)
	case strings.Contains(h.Path, "#"):
		f.at("path", "%q holds a #, which no request has; write %%23 for the character itself", h.Path)
	case err != nil:
		f.at("path", "%q is no path of a request; a %% is written %%25", h.Path)
	}
	f.time("interval", h.Interval, 10*time.Millisecond)
	f.time("timeout", h.Timeout, time.Millisecond)
	f.number("healthy", h.Healthy, 1, 100)
	f.number("unhealthy", h.Unhealthy, 1, 100)
	for i, status := range h.Statuses {
		f.number("statuses["+strconv.Itoa(i)+"]", status, 100, 599)
	}
	return f.err()
}

// Validate checks that every time has an end.
func (t *UpstreamTimeouts) Validate() error {
	var f faults
	f.time("connect", t.Connect, 1)
	f.time("tls_handshake", t.TLSHandshake, 1)
	f.time("response", t.Response, 1)
	f.time("body_idle", t.BodyIdle, 1)
	f.time("stream_idle", t.StreamIdle, 1)
	f.time("idle", t.Idle, 1)
	return f.err()
}

var encodedNames = []string{"slash", "percent", "semicolon"}

// Validate checks what a route says of itself.
func (r *Route) Validate() error {
	var f faults
	if r.Name != "" && !nameForm.MatchString(r.Name) {
		f.at("name", "%s", badName(r.Name))
	}
	f.time("timeout", r.Timeout, 1)
	for i, word := range r.AllowEncoded {
		f.oneOf("allow_encoded["+strconv.Itoa(i)+"]", word, encodedNames...)
	}
	return f.err()
}

func badName(name string) string {
	return fmt.Sprintf("%q is no good name: lower-case letters, digits, '_', '.' and '-', and a letter or digit first", name)
}
