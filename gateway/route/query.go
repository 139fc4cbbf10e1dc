package route

import "strings"

// firstParam finds the first parameter of a raw query that url.ParseQuery would
// give the name, and returns its value, still encoded. Parsing the query would
// allocate a map for every request.
func firstParam(query, name string) (value string, ok bool) {
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(param, "=")
		if len(key) < len(name) || param == "" || !unescapesTo(key, name) {
			continue
		}
		// url.ParseQuery drops a parameter with a semicolon or a broken escape.
		if strings.IndexByte(param, ';') < 0 && isEscaped(value) {
			return value, true
		}
	}
	return "", false
}

// param is firstParam, with the last answer kept: routes of one path mostly ask for
// the same parameter.
func (q *lookup) param(name string) (value string, ok bool) {
	if !q.asked || q.name != name {
		q.asked, q.name = true, name
		q.value, q.found = firstParam(q.URL.RawQuery, name)
	}
	return q.value, q.found
}

// isEscaped says whether url.QueryUnescape would accept s.
func isEscaped(s string) bool {
	for i := strings.IndexByte(s, '%'); i >= 0; i = strings.IndexByte(s, '%') {
		if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
			return false
		}
		s = s[i+3:]
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// unescapesTo says whether url.QueryUnescape of s is want.
func unescapesTo(s, want string) bool {
	if len(s) < len(want) {
		return false
	}
	i := 0
	for ; i < len(s); want = want[1:] {
		if want == "" {
			return false
		}
		c, width := s[i], 1
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
			c, width = unhex(s[i+1])<<4|unhex(s[i+2]), 3
		}
		if c != want[0] {
			return false
		}
		i += width
	}
	return want == ""
}

// appendUnescaped appends what url.QueryUnescape of s is to room, whose capacity it
// does not exceed. The escapes of s must be good ones.
func appendUnescaped(room []byte, s string) (plain []byte, fits bool) {
	for ; s != ""; s = s[1:] {
		c := s[0]
		switch c {
		case '+':
			c = ' '
		case '%':
			c = unhex(s[1])<<4 | unhex(s[2])
			s = s[2:]
		}
		if len(room) == cap(room) {
			return nil, false
		}
		room = append(room, c)
	}
	return room, true
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
