package openapi

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pithead/pithead/gateway"
)

const (
	// maxViolations are told of one message; who has more mistakes than that will come
	// back.
	maxViolations = 20
	// maxSteps bounds how many times a value is held to a schema for one message.
	// Alternatives within alternatives double with each level, and a body of some
	// hundred bytes would keep a core busy for hours.
	maxSteps = 1 << 20
	// maxNesting bounds schemas within schemas that look at one value, of which a
	// schema that refers to itself has no end.
	maxNesting = 1000
)

// checker holds one message to schemas.
type checker struct {
	answer bool // an answer, not a request
	steps  int
	depth  int
	quiet  int // in alternatives: only whether it fits
	path   []string
	in     string
	name   string
	out    []gateway.Violation
}

func (c *checker) full() bool { return len(c.out) >= maxViolations || c.steps > maxSteps }

// fail records a violation at the present place. It returns false for callers that
// do the same.
func (c *checker) fail(format string, args ...any) bool {
	if c.quiet > 0 || c.full() {
		return false
	}
	v := gateway.Violation{In: c.in, Name: c.name, Detail: fmt.Sprintf(format, args...)}
	if c.in == "body" || len(c.path) > 0 {
		v.Pointer = pointer(c.path)
	}
	c.out = append(c.out, v)
	return false
}

// pointer is a JSON pointer as a URI fragment (RFC 6901, 6).
func pointer(path []string) string {
	var b strings.Builder
	for _, token := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(token, 100)))
	}
	u := url.URL{Fragment: b.String()}
	return "#" + u.EscapedFragment()
}

// at checks a part of the value.
func (c *checker) at(token string, s *schema, v any) bool {
	c.path = append(c.path, token)
	ok := c.check(s, v)
	c.path = c.path[:len(c.path)-1]
	return ok
}

// try says whether v fits s, without a word.
func (c *checker) try(s *schema, v any) bool {
	c.quiet++
	ok := c.check(s, v)
	c.quiet--
	return ok
}

func typeOfValue(v any) types {
	switch v := v.(type) {
	case nil:
		return typeNull
	case bool:
		return typeBoolean
	case string:
		return typeString
	case []any:
		return typeArray
	case json.Number:
		if isWhole(string(v)) {
			return typeInteger
		}
		return typeNumber
	}
	return typeObject
}

func isWhole(text string) bool {
	if !strings.ContainsAny(text, ".eE") {
		return true
	}
	f, err := strconv.ParseFloat(text, 64)
	return err == nil && f == math.Trunc(f)
}

// check says whether v fits s, and records where not.
func (c *checker) check(s *schema, v any) bool {
	if c.steps++; c.steps > maxSteps || c.depth > maxNesting {
		c.steps = maxSteps + 1
		return false
	}
	c.depth++
	defer func() { c.depth-- }()
	if s.never {
		return c.fail("must not be there")
	}
	t := typeOfValue(v)
	if t == typeNull && s.nullable {
		return true
	}
	if s.types != 0 && s.types&t == 0 {
		return c.fail("must be %s, not %s", s.types, t)
	}
	if s.enum != nil && !s.enum[canonicalText(v)] {
		return c.fail("must be one of %s", s.enumText)
	}
	ok := true
	switch v := v.(type) {
	case string:
		ok = !s.checksString || c.text(s, v)
	case json.Number:
		ok = !s.checksNumber || c.number(s, string(v))
	case []any:
		ok = !s.checksArray || c.array(s, v)
	case map[string]any:
		ok = !s.checksObject || c.object(s, v)
	}
	if !ok && c.quiet > 0 {
		return false
	}
	return c.combined(s, v) && ok
}

func (c *checker) text(s *schema, v string) bool {
	ok := true
	if s.minLength > 0 || s.maxLength >= 0 {
		n := utf8.RuneCountInString(v)
		if n < s.minLength {
			ok = c.fail("must have at least %d characters, not %d", s.minLength, n)
		}
		if s.maxLength >= 0 && n > s.maxLength {
			ok = c.fail("must have at most %d characters, not %d", s.maxLength, n)
		}
	}
	if s.pattern != nil && !s.pattern.MatchString(v) {
		ok = c.fail("must match %s", clip(s.source.Pattern, 100))
	}
	if s.format != nil && s.format.text != nil && !s.format.text(v) {
		ok = c.fail("must be of the format %s", s.format.name)
	}
	return ok
}

func (c *checker) number(s *schema, text string) bool {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return c.fail("is too large a number")
	}
	ok := true
	if s.format != nil && s.format.number != nil && !s.format.number(text) {
		ok = c.fail("must be of the format %s", s.format.name)
	}
	switch {
	case s.min == nil:
	case s.aboveMin && n <= *s.min:
		ok = c.fail("must be greater than %v", *s.min)
	case n < *s.min:
		ok = c.fail("must be at least %v", *s.min)
	}
	switch {
	case s.max == nil:
	case s.belowMax && n >= *s.max:
		ok = c.fail("must be less than %v", *s.max)
	case n > *s.max:
		ok = c.fail("must be at most %v", *s.max)
	}
	if s.multipleOf != nil {
		// 0.3 is a multiple of 0.1 for people, though not for floats.
		times := n / *s.multipleOf
		if math.Abs(times-math.Round(times)) > 1e-9*max(1, math.Abs(times)) {
			ok = c.fail("must be a multiple of %v", *s.multipleOf)
		}
	}
	return ok
}

func (c *checker) array(s *schema, v []any) bool {
	ok := true
	if len(v) < s.minItems {
		ok = c.fail("must have at least %d items, not %d", s.minItems, len(v))
	}
	if s.maxItems >= 0 && len(v) > s.maxItems {
		ok = c.fail("must have at most %d items, not %d", s.maxItems, len(v))
	}
	if s.unique {
		seen := make(map[string]int, len(v))
		for i, item := range v {
			text := canonicalText(item)
			if first, twice := seen[text]; twice {
				ok = c.fail("has the same item at %d and %d", first, i)
				break
			}
			seen[text] = i
		}
	}
	found := 0
	for i, item := range v {
		if c.full() || !ok && c.quiet > 0 {
			return false
		}
		one := s.items
		if i < len(s.prefix) {
			one = s.prefix[i]
		}
		if one != nil {
			ok = c.at(strconv.Itoa(i), one, item) && ok
		}
		if s.contains != nil && c.try(s.contains, item) {
			found++
		}
	}
	if s.contains != nil && (found < s.minContains || s.maxContains >= 0 && found > s.maxContains) {
		ok = c.fail("has %d items of the wanted kind", found)
	}
	return ok
}

func (c *checker) object(s *schema, v map[string]any) bool {
	ok := true
	if len(v) < s.minProps {
		ok = c.fail("must have at least %d members, not %d", s.minProps, len(v))
	}
	if s.maxProps >= 0 && len(v) > s.maxProps {
		ok = c.fail("must have at most %d members, not %d", s.maxProps, len(v))
	}
	for _, name := range s.required {
		if _, has := v[name]; !has && !c.exempt(s.properties[name]) {
			c.path = append(c.path, name)
			ok = c.fail("is missing")
			c.path = c.path[:len(c.path)-1]
		}
	}
	for name, others := range s.dependentRequired {
		if _, has := v[name]; has {
			for _, other := range others {
				if _, has := v[other]; !has {
					ok = c.fail("%s needs %s beside it", name, other)
				}
			}
		}
	}
	for _, name := range sortedNames(v) {
		if c.full() || !ok && c.quiet > 0 {
			return false
		}
		ok = c.member(s, v, name) && ok
	}
	return ok
}

// exempt says that a member is for the other direction only, so that nobody can ask
// for it in this one.
func (c *checker) exempt(s *schema) bool {
	return s != nil && (s.readOnly && !c.answer || s.write && c.answer)
}

func (c *checker) member(s *schema, v map[string]any, name string) bool {
	ok, known := true, false
	if s.propertyNames != nil && !c.try(s.propertyNames, name) {
		ok = c.fail("%s is no name that a member may have", clip(name, 40))
	}
	if one := s.properties[name]; one != nil {
		known = true
		ok = c.at(name, one, v[name]) && ok
	}
	for _, p := range s.patterns {
		if p.re.MatchString(name) {
			known = true
			ok = c.at(name, p.schema, v[name]) && ok
		}
	}
	if !known && s.additional != nil {
		ok = c.at(name, s.additional, v[name]) && ok
	}
	if one := s.dependentSchemas[name]; one != nil {
		ok = c.check(one, v) && ok
	}
	return ok
}

// combined checks what a schema says by other schemas.
func (c *checker) combined(s *schema, v any) bool {
	ok := true
	for _, one := range s.all {
		ok = c.check(one, v) && ok
	}
	if s.discriminator != "" {
		ok = c.discriminated(s, v) && ok
	} else {
		ok = c.alternatives(s, v) && ok
	}
	if s.not != nil && c.try(s.not, v) {
		ok = c.fail("is what it must not be")
	}
	if s.condition != nil {
		one := s.then
		if !c.try(s.condition, v) {
			one = s.els
		}
		if one != nil {
			ok = c.check(one, v) && ok
		}
	}
	return ok
}

func (c *checker) alternatives(s *schema, v any) bool {
	ok := true
	if len(s.any) > 0 {
		fits := false
		for _, one := range s.any {
			if fits = c.try(one, v); fits {
				break
			}
		}
		if !fits {
			ok = c.fail("fits none of %d alternatives", len(s.any))
		}
	}
	if len(s.one) > 0 {
		fits := 0
		for _, one := range s.one {
			if c.try(one, v) {
				fits++
			}
		}
		if fits != 1 {
			ok = c.fail("fits %d of %d alternatives; it must fit one", fits, len(s.one))
		}
	}
	return ok
}

// discriminated holds v to the alternative that it names, so that a client hears
// what is wrong and not only that nothing fits.
func (c *checker) discriminated(s *schema, v any) bool {
	members, _ := v.(map[string]any)
	value, ok := members[s.discriminator].(string)
	if !ok {
		return c.fail("must name what it is in the member %s", s.discriminator)
	}
	one := s.mapping[value]
	if one == nil {
		return c.fail("the member %s names nothing that is known", s.discriminator)
	}
	return c.check(one, v)
}
