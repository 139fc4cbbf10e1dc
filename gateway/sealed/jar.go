package sealed

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxCookies is how many cookies one text may take.
	maxCookies = 4
	// maxValue leaves room for name and attributes in the 4096 bytes that browsers take (RFC 6265, 6.1).
	maxValue = 3800
	// mark stands between the number of cookies and the text.
	mark = '.'
)

// ErrTooLarge says that a text does not fit into as many cookies as one may take.
var ErrTooLarge = errors.New("does not fit into the cookies of a session")

// Jar reads and writes one text as a cookie, or several if one cannot hold it: Name,
// then Name-1 and so on. The first one says how many there are.
type Jar struct {
	Name   string
	Secure bool
}

// index says which of the jar's cookies has a name, -1 if none.
func (j Jar) index(name string) int {
	rest, ok := strings.CutPrefix(name, j.Name)
	switch {
	case !ok:
		return -1
	case rest == "":
		return 0
	case len(rest) == 2 && rest[0] == '-' && rest[1] > '0' && rest[1] < '0'+maxCookies:
		return int(rest[1] - '0')
	}
	return -1
}

// Has says whether a cookie of this name is the jar's.
func (j Jar) Has(name string) bool { return j.index(name) >= 0 }

// parts are the values of the jar's cookies in a request, and how often each is there.
func (j Jar) parts(request http.Header) (values [maxCookies]string, count [maxCookies]int) {
	for _, line := range request["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if i := j.index(strings.TrimRight(name, " \t")); i >= 0 {
				values[i] = value
				count[i]++
			}
		}
	}
	return values, count
}

// Read is the text in a request. It is all there, each part once, or ok is false.
func (j Jar) Read(request http.Header) (text string, ok bool) {
	values, count := j.parts(request)
	if len(values[0]) < 2 || values[0][1] != mark {
		return "", false
	}
	n := int(values[0][0]) - '0'
	if n < 1 || n > maxCookies {
		return "", false
	}
	for _, c := range count[:n] {
		if c != 1 {
			return "", false
		}
	}
	values[0] = values[0][2:]
	if n == 1 {
		return values[0], true
	}
	return strings.Join(values[:n], ""), true
}

// Write makes an answer store the text for a time, and forget those cookies of the
// request that a longer text has left.
func (j Jar) Write(answer, request http.Header, text string, maxAge time.Duration) error {
	n := (len(text) + maxValue - 1) / maxValue
	if n == 0 || n > maxCookies {
		return ErrTooLarge
	}
	for i := range n {
		part := text[i*maxValue : min((i+1)*maxValue, len(text))]
		if i == 0 {
			part = strconv.Itoa(n) + string(mark) + part
		}
		j.set(answer, i, part, max(1, int(maxAge/time.Second)))
	}
	j.forget(answer, request, n)
	return nil
}

// Clear makes an answer forget the jar's cookies of the request.
func (j Jar) Clear(answer, request http.Header) { j.forget(answer, request, 0) }

func (j Jar) forget(answer, request http.Header, from int) {
	_, count := j.parts(request)
	for i := from; i < maxCookies; i++ {
		if count[i] > 0 {
			j.set(answer, i, "", -1)
		}
	}
}

func (j Jar) set(answer http.Header, i int, value string, maxAge int) {
	name := j.Name
	if i > 0 {
		name += "-" + strconv.Itoa(i)
	}
	c := http.Cookie{ //nolint:gosec // Secure is left out on plain http at this machine alone
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		Secure: j.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
	answer.Add("Set-Cookie", c.String())
}
