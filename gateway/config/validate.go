package config

import (
	"cmp"
	"errors"
	"fmt"
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

func badName(name string) string {
	return fmt.Sprintf("%q is no good name: lower-case letters, digits, '_', '.' and '-', and a letter or digit first", name)
}
