package route

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// op is how a condition looks at a value.
type op uint8

const (
	present op = iota
	equal
	matching
	unlike
	absent
)

// condition is what a rule says of one header or query parameter.
type condition struct {
	name  string
	op    op
	value string // to be equal to or unlike; of an expression as it was written
	re    *regexp.Regexp
}

// addConditions compiles the conditions of one map. field is "headers" or "query".
func (c *compiler) addConditions(field string, in map[string]Value) (all []condition) {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		one, err := newCondition(name, in[name])
		c.fail(field+"."+name, err)
		all = append(all, one)
	}
	return all
}

func newCondition(name string, v Value) (c condition, err error) {
	given := 0
	set := func(is bool, o op, value string) {
		if is {
			given++
			c.op, c.value = o, value
		}
	}
	c.name = name
	set(v.Exact != "", equal, v.Exact)
	set(v.Regex != "", matching, v.Regex)
	set(v.Not != "", unlike, v.Not)
	set(v.Absent, absent, "")
	switch {
	case given > 1:
		return c, errors.New("only one of an exact value, regex, not and absent can be given")
	case v.Regex != "":
		c.re, err = wholeRegex(v.Regex)
	}
	return c, err
}

// wholeRegex compiles an expression that must match all of a text.
func wholeRegex(text string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(text); err != nil {
		return nil, err // the text as it was written, and no parenthesis that closes ours
	}
	return regexp.Compile(`\A(?:` + text + `)\z`)
}

// inHeader says whether the condition holds. One line of several is enough, and
// for unlike it takes all of them.
func (c *condition) inHeader(h http.Header) bool {
	values := h[c.name]
	switch c.op {
	case present:
		return len(values) > 0
	case equal:
		return slices.Contains(values, c.value)
	case unlike:
		return !slices.Contains(values, c.value)
	case absent:
		return len(values) == 0
	default:
		return slices.ContainsFunc(values, c.re.MatchString)
	}
}

// inQuery says whether the condition holds for the first parameter of its name, as
// firstParam has it.
func (c *condition) inQuery(value string, ok bool) bool {
	switch c.op {
	case present:
		return ok
	case equal:
		return ok && unescapesTo(value, c.value)
	case unlike:
		return !ok || !unescapesTo(value, c.value)
	case absent:
		return !ok
	default:
		return ok && c.re.MatchString(unescaped(value))
	}
}

// unescaped allocates only for values that are written with escapes.
func unescaped(value string) string {
	if !strings.ContainsAny(value, "%+") {
		return value
	}
	plain, err := url.QueryUnescape(value)
	if err != nil {
		return value // firstParam gives no such value
	}
	return plain
}

// why says for people why the condition does not hold. values are those that
// count; noun is "header" or "query parameter".
func (c *condition) why(noun, name string, values []string) string {
	is := noun + " " + name + " is " + quote(strings.Join(values, ", "))
	switch {
	case c.op == absent:
		return is + ", want none"
	case c.op == unlike:
		return is + ", want any other value"
	case len(values) > 0 && c.op == matching:
		return is + ", want regex " + c.value
	case len(values) > 0:
		return is + ", want " + strconv.Quote(c.value)
	case c.op == present:
		return fmt.Sprintf("no %s %s", noun, name)
	case c.op == matching:
		return fmt.Sprintf("no %s %s, want regex %s", noun, name, c.value)
	default:
		return fmt.Sprintf("no %s %s, want %s", noun, name, strconv.Quote(c.value))
	}
}
