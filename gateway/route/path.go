package route

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"
)

// kind is how a rule looks at the path, in order of precedence.
type kind uint8

const (
	rpc kind = iota // gRPC: not the path alone
	exact
	template
	prefix
	expression
)

// encodedSlash stands for %2F in paths while they are matched. No canonical
// path has a NUL of its own, and this one is no slash to anybody who looks.
const (
	encodedSlash = "\x00"
	parameter    = "\x01" // a template's parameter, while the template is read
)

// matchPath is the path of u as rules see it: decoded, an encoded slash as
// encodedSlash. It is false for paths that no rule may match.
func matchPath(u *url.URL) (string, bool) {
	if u.Path == "" || u.Path[0] != '/' || strings.Contains(u.Path, encodedSlash) {
		return "", false
	}
	if !strings.Contains(u.RawPath, "%2F") && !strings.Contains(u.RawPath, "%2f") {
		return u.Path, true
	}
	// A RawPath that is no encoding of Path is not what goes upstream, so it
	// must not decide here either.
	if u.EscapedPath() != u.RawPath {
		return u.Path, true
	}
	path, raw := []byte(u.Path), u.RawPath
	for i := range path {
		if raw[0] != '%' {
			raw = raw[1:]
			continue
		}
		if path[i] == '/' {
			path[i] = encodedSlash[0]
		}
		raw = raw[3:]
	}
	return string(path), true
}

// canonical decodes literal text of a rule's path and refuses what no canonical
// path of a request can hold, because such a rule would never match.
func canonical(text string) (string, error) {
	if strings.ContainsAny(text, "?#") {
		return "", fmt.Errorf("%q: a path has no query and no fragment", text)
	}
	segments := strings.Split(text, "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return "", fmt.Errorf("%q: a percent sign must begin an escape such as %%20", text)
		}
		if !utf8.ValidString(plain) || strings.ContainsFunc(plain, isControl) {
			return "", fmt.Errorf("%q: no path is routed that holds control characters or invalid UTF-8", text)
		}
		segments[i] = strings.ReplaceAll(plain, "/", encodedSlash)
	}
	return strings.Join(segments, "/"), nil
}

func isControl(c rune) bool { return c < 0x20 || c == 0x7f }

// checkSegments refuses paths that are not canonical.
func checkSegments(text string, segments []string) error {
	for i, segment := range segments {
		switch {
		case segment == "" && i < len(segments)-1:
			return fmt.Errorf("%q: requests have their double slashes merged", text)
		case segment == "." || segment == "..":
			return fmt.Errorf("%q: requests with dot segments are refused", text)
		}
	}
	if strings.HasSuffix(text, "/*") {
		return fmt.Errorf("%q: a star is no wildcard in a path; write prefix: %s, or %%2A for the star itself", text, orSlash(text[:len(text)-2]))
	}
	return nil
}

func orSlash(prefix string) string {
	if prefix == "" {
		return "/"
	}
	return prefix
}

// compilePath fills in an exact path or a template.
func (c *rule) compilePath(text string) error {
	if !strings.HasPrefix(text, "/") {
		return fmt.Errorf("%q must begin with a slash", text)
	}
	t, err := readTemplate(text)
	if err != nil {
		return err
	}
	c.path, c.segments = t.skeleton, strings.Split(t.skeleton[1:], "/")
	if err := checkSegments(text, c.segments); err != nil {
		return err
	}
	if len(t.params) == 0 {
		c.kind = exact
		return nil
	}
	c.kind = template
	c.literals = len(t.skeleton) - len(t.params)
	c.mux = mux.NewRouter().NewRoute().Path(t.text)
	if err := c.mux.GetError(); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "mux: "))
	}
	if t.plain && !slices.ContainsFunc(c.segments, isMixed) {
		return nil // the index alone decides as mux would
	}
	pattern, err := c.mux.GetPathRegexp()
	if err != nil {
		return err
	}
	c.re, err = regexp.Compile(pattern)
	return err
}

// isMixed says that a parameter is only a part of the segment.
func isMixed(segment string) bool {
	return len(segment) > 1 && strings.Contains(segment, parameter)
}

// compilePrefix fills in a prefix. A trailing slash says nothing, as in the
// Gateway API: /v1/ is /v1.
func (c *rule) compilePrefix(text string) error {
	if !strings.HasPrefix(text, "/") {
		return fmt.Errorf("%q must begin with a slash", text)
	}
	if strings.ContainsAny(text, "{}") {
		return fmt.Errorf("%q: a prefix has no parameters; use path or path_regex", text)
	}
	plain, err := canonical(text)
	if err != nil {
		return err
	}
	c.kind, c.path = prefix, strings.TrimSuffix(plain, "/")
	c.literals = len(c.path)
	c.segments = strings.Split(strings.TrimPrefix(c.path, "/"), "/")
	return checkSegments(text, strings.Split(plain[1:], "/"))
}

// compileRegex fills in a regular expression. mux has none for a whole path, so
// this is regexp itself, anchored at both ends.
func (c *rule) compileRegex(text string) error {
	var err error
	c.kind = expression
	if c.re, err = wholeRegex(text); err != nil {
		return err
	}
	rest := strings.TrimPrefix(text, "^")
	if beginsWithoutSlash(rest) {
		return fmt.Errorf("%q matches no path, because all of them begin with a slash; write %s/%s", text, strings.TrimSuffix(text, rest), rest)
	}
	return nil
}

// beginsWithoutSlash says whether all that the expression matches begins with
// one certain character, and that is no slash.
func beginsWithoutSlash(text string) bool {
	re, err := regexp.Compile(text)
	if err != nil {
		return false
	}
	begin, _ := re.LiteralPrefix()
	return begin != "" && begin[0] != '/'
}

// matchesPath is what the index does by look-up.
func (c *rule) matchesPath(path string) bool {
	switch c.kind {
	case rpc:
		return c.call.matches(path)
	case exact:
		return path == c.path
	case template:
		i := 0
		for segment := range strings.SplitSeq(path[1:], "/") {
			if i == len(c.segments) || !fits(c.segments[i], segment) {
				return false
			}
			i++
		}
		return i == len(c.segments) && (c.re == nil || c.re.MatchString(path))
	case prefix:
		rest, ok := strings.CutPrefix(path, c.path)
		return ok && (rest == "" || rest[0] == '/')
	default:
		return c.re.MatchString(path)
	}
}

// distance is how little the rule says of the path by its kind: the root is all
// paths, and so further away than any expression.
func (c *rule) distance() kind {
	if c.kind == prefix && c.literals == 0 {
		return expression + 1
	}
	return c.kind
}

// fits says whether a segment of a path may stand where the template has want.
func fits(want, segment string) bool {
	if !strings.Contains(want, parameter) {
		return segment == want
	}
	return isValue(segment)
}

// isValue says whether a parameter may take the segment. The dots have been
// refused before; that they are no value keeps a template from being a way
// around that.
func isValue(segment string) bool { return segment != "" && segment != "." && segment != ".." }

// vars extracts the parameters from a path that matched.
func (c *rule) vars(path string) map[string]string {
	vars := make(map[string]string)
	switch c.kind {
	case template:
		m := mux.RouteMatch{Vars: vars}
		if !c.mux.Match(&http.Request{URL: &url.URL{Path: path}}, &m) {
			return nil
		}
	case expression:
		found := c.re.FindStringSubmatch(path)
		for i, name := range c.re.SubexpNames() {
			if name != "" && found != nil {
				vars[name] = found[i]
			}
		}
	}
	if len(vars) == 0 {
		return nil
	}
	for name, value := range vars {
		vars[name] = strings.ReplaceAll(value, encodedSlash, "/")
	}
	return vars
}
