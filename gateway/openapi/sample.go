package openapi

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// sampleDepth is how deep optional members go; what is required goes further.
	sampleDepth = 6
	// sampleEnd ends schemas whose required members never end.
	sampleEnd = 40
	// sampleValues bounds the values of one sample.
	sampleValues = 5000
	sampleItems  = 100
	sampleText   = 4096
)

// sampler makes a value that fits a schema, always the same one.
type sampler struct {
	left  int
	depth int
	open  map[*schema]int // schemas that a value is being made of
}

// sample makes a value, and says whether it fits: what a schema forbids with `not`, or
// asks for without an end, cannot always be guessed.
func sample(s *schema) (v any, fits bool) {
	m := &sampler{left: sampleValues, open: make(map[*schema]int)}
	v, _ = plain(m.value(s, 0)) // made of what JSON has
	c := checker{answer: true, quiet: 1, in: "body"}
	return v, c.check(s, v) && c.steps <= maxSteps
}

// value makes the n-th value of a list of s.
func (m *sampler) value(s *schema, n int) any {
	m.left--
	if s == nil || m.depth >= sampleEnd {
		return nil
	}
	if v, ok := s.given(n); ok {
		return v
	}
	m.depth++
	m.open[s]++
	defer func() { m.depth--; m.open[s]-- }()
	v := m.own(s, n)
	for _, one := range s.all {
		v = merge(v, m.value(one, n))
	}
	if branch := m.branch(s); branch != nil {
		v = merge(v, m.value(branch, n))
		if s.discriminator != "" {
			v = merge(v, map[string]any{s.discriminator: nameOf(s.mapping, branch)})
		}
	}
	return v
}

// given is what the document itself says: an example, a default, an enum.
func (s *schema) given(n int) (any, bool) {
	if s.source == nil {
		return nil, false
	}
	switch {
	case s.source.Const != nil:
		return s.source.Const, true
	case s.source.Example != nil && n == 0:
		return s.source.Example, true
	case n < len(s.source.Examples):
		return s.source.Examples[n], true
	case s.source.Default != nil && n == 0:
		return s.source.Default, true
	case len(s.source.Enum) > 0:
		return s.source.Enum[min(n, len(s.source.Enum)-1)], true
	}
	return nil, false
}

// branch is the alternative to follow: the first that is not being made already.
func (m *sampler) branch(s *schema) *schema {
	for _, list := range [][]*schema{s.one, s.any} {
		for _, one := range list {
			if m.open[one] == 0 {
				return one
			}
		}
		if len(list) > 0 {
			return list[0]
		}
	}
	return nil
}

// nameOf is the value of a discriminator that stands for a schema, the first by name.
func nameOf(mapping map[string]*schema, s *schema) string {
	for _, name := range slices.Sorted(maps.Keys(mapping)) {
		if mapping[name] == s {
			return name
		}
	}
	return ""
}

// merge puts members together; of other values the later one counts, if there is one.
func merge(a, b any) any {
	first, ok1 := a.(map[string]any)
	second, ok2 := b.(map[string]any)
	if ok1 && ok2 {
		maps.Copy(first, second)
		return first
	}
	if b == nil {
		return a
	}
	return b
}

func (m *sampler) own(s *schema, n int) any {
	switch t := s.types; {
	case t&typeObject != 0 || t == 0 && s.checksObject:
		return m.object(s)
	case t&typeArray != 0 || t == 0 && s.checksArray:
		return m.array(s)
	case t&typeString != 0 || t == 0 && s.checksString:
		return s.sampleText(n)
	case t&typeInteger != 0 || t == 0 && s.checksNumber:
		return s.sampleNumber(n)
	case t&typeBoolean != 0:
		return n%2 == 0
	}
	return nil
}

func (m *sampler) object(s *schema) any {
	members := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(s.properties)) {
		one := s.properties[name]
		if one.write || one.never {
			continue
		}
		if slices.Contains(s.required, name) || m.depth < sampleDepth && m.open[one] == 0 && m.left > 0 {
			members[name] = m.value(one, 0)
		}
	}
	for _, name := range s.required {
		if _, has := members[name]; !has && s.properties[name] == nil {
			members[name] = m.value(s.additional, 0)
		}
	}
	want := s.minProps
	if s.additional != nil && !s.additional.never && len(s.properties) == 0 && m.depth < sampleDepth && m.open[s.additional] == 0 {
		want = max(want, 1)
	}
	for i := 1; len(members) < min(want, sampleItems) && i <= sampleItems; i++ {
		members["member"+strconv.Itoa(i)] = m.value(s.additional, 0)
	}
	return members
}

func (m *sampler) array(s *schema) any {
	want := max(1, s.minItems, len(s.prefix))
	if s.maxItems >= 0 {
		want = min(want, s.maxItems)
	}
	if s.minItems <= 0 && len(s.prefix) == 0 && (m.depth >= sampleDepth || s.items != nil && m.open[s.items] > 0 || m.left <= 0) {
		want = 0
	}
	list := []any{}
	for i := range min(want, sampleItems) {
		one := s.items
		if i < len(s.prefix) {
			one = s.prefix[i]
		} else if s.contains != nil && i < max(1, s.minContains) {
			one = s.contains
		}
		n := 0
		if s.unique {
			n = i
		}
		list = append(list, m.value(one, n))
	}
	return list
}

func (s *schema) sampleText(n int) any {
	text := "text"
	switch {
	case s.format != nil && s.format.text != nil:
		text, _ = s.format.sample.(string)
	case s.pattern != nil:
		text = sampleOf(s.pattern.String(), s.minLength)
	}
	if n > 0 {
		text += strconv.Itoa(n)
	}
	if s.pattern == nil && s.format == nil {
		for utf8.RuneCountInString(text) < min(s.minLength, sampleText) {
			text += "x"
		}
		if s.maxLength >= 0 && len(text) > s.maxLength {
			text = strings.Repeat(strconv.Itoa(n%10), s.maxLength)
		}
	}
	return text
}

// sampleNumber is 1 if that is allowed, else the least that is, else the greatest.
func (s *schema) sampleNumber(n int) any {
	step := 1.0
	if s.multipleOf != nil {
		step = *s.multipleOf
	}
	whole := s.types&typeNumber == 0
	if !whole && s.multipleOf == nil && s.min != nil && s.max != nil && *s.max-*s.min < 2 {
		step = (*s.max - *s.min) / 4
	}
	v := step
	if s.min != nil && (v < *s.min || v == *s.min && s.aboveMin) || s.max != nil && (v > *s.max || v == *s.max && s.belowMax) {
		switch {
		case s.min != nil:
			if v = math.Ceil(*s.min/step) * step; v == *s.min && s.aboveMin || v < *s.min {
				v += step
			}
		case s.max != nil:
			if v = math.Floor(*s.max/step) * step; v == *s.max && s.belowMax {
				v -= step
			}
		}
	}
	v += float64(n) * step
	if whole && v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return json.Number(strconv.FormatInt(int64(v), 10))
	}
	return v
}
