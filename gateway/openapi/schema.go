package openapi

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// types is a set of the types of JSON Schema.
type types uint8

const (
	typeNull types = 1 << iota
	typeBoolean
	typeInteger
	typeNumber
	typeString
	typeArray
	typeObject
)

var typeNames = []string{"null", "boolean", "integer", "number", "string", "array", "object"}

// String names the types for a client.
func (t types) String() string {
	var names []string
	for i, name := range typeNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " or ")
}

// schema is a compiled schema. It may be part of itself.
type schema struct {
	source   *openapi3.Schema
	never    bool
	types    types // 0 is all of them
	nullable bool  // of version 3.0: null too
	enum     map[string]bool
	enumText string
	readOnly bool
	write    bool // writeOnly

	min, max, multipleOf       *float64
	aboveMin, belowMax         bool // the bounds themselves are out
	minLength                  int
	maxLength                  int // -1 is none, as in all maxima of counts
	pattern                    *regexp.Regexp
	format                     *format
	minItems, maxItems         int
	unique                     bool
	prefix                     []*schema
	items, contains            *schema
	minContains, maxContains   int
	required                   []string
	minProps, maxProps         int
	properties                 map[string]*schema
	patterns                   []patternSchema
	additional, propertyNames  *schema
	dependentRequired          map[string][]string
	dependentSchemas           map[string]*schema
	all, any, one              []*schema
	not, condition, then, els  *schema
	discriminator              string
	mapping                    map[string]*schema
	checksString, checksNumber bool
	checksArray, checksObject  bool
}

type patternSchema struct {
	re *regexp.Regexp
	*schema
}

// compiler compiles the schemas of a document, each once.
type compiler struct {
	known map[*openapi3.Schema]*schema
	place func(...*openapi3.Origin) string
	errs  []error
}

func (c *compiler) fail(s *openapi3.Schema, msg string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%s: "+msg, append([]any{c.place(s.Origin)}, args...)...))
}

// compile returns nil for no schema.
func (c *compiler) compile(ref *openapi3.SchemaRef) *schema {
	if ref == nil {
		return nil
	}
	if ref.Value == nil {
		c.errs = append(c.errs, fmt.Errorf("%s: the reference %q leads nowhere", c.place(ref.Origin), ref.Ref))
		return nil
	}
	if s, ok := c.known[ref.Value]; ok {
		return s
	}
	s := &schema{source: ref.Value}
	c.known[ref.Value] = s
	c.fill(s, ref.Value)
	return s
}

func (c *compiler) fill(s *schema, v *openapi3.Schema) {
	if v.Always != nil {
		s.never = !*v.Always
		return
	}
	for name, used := range map[string]bool{
		"unevaluatedProperties": v.UnevaluatedProperties != (openapi3.BoolSchema{}), "unevaluatedItems": v.UnevaluatedItems != (openapi3.BoolSchema{}),
		"$dynamicRef": v.DynamicRef != "",
	} {
		if used {
			c.fail(v, "%s cannot be checked; without it a schema would hold more than it seems to. Write additionalProperties, items or $ref", name)
		}
	}
	if v.Type != nil {
		for _, name := range *v.Type {
			s.types |= c.typeOf(v, name)
		}
	}
	s.nullable, s.readOnly, s.write = v.Nullable, v.ReadOnly, v.WriteOnly
	c.enum(s, v)
	c.scalars(s, v)
	c.containers(s, v)
	for _, of := range []struct {
		from openapi3.SchemaRefs
		to   *[]*schema
	}{{v.AllOf, &s.all}, {v.AnyOf, &s.any}, {v.OneOf, &s.one}, {v.PrefixItems, &s.prefix}} {
		for _, ref := range of.from {
			if one := c.compile(ref); one != nil {
				*of.to = append(*of.to, one)
			}
		}
	}
	s.not, s.condition, s.then, s.els = c.compile(v.Not), c.compile(v.If), c.compile(v.Then), c.compile(v.Else)
	c.discriminate(s, v)
	s.checksArray = len(s.prefix) > 0 || s.items != nil || s.contains != nil || s.unique || s.minItems > 0 || s.maxItems >= 0
	s.checksString = s.minLength > 0 || s.maxLength >= 0 || s.pattern != nil || s.format != nil && s.format.text != nil
	s.checksNumber = s.min != nil || s.max != nil || s.multipleOf != nil || s.format != nil && s.format.number != nil
}

func (c *compiler) typeOf(v *openapi3.Schema, name string) types {
	for i, known := range typeNames {
		if known == name {
			if name == "number" {
				return typeNumber | typeInteger
			}
			return 1 << i
		}
	}
	c.fail(v, "type %q is none of %s", name, strings.Join(typeNames, ", "))
	return 0
}

// enum takes enum and const together: both list what is left.
func (c *compiler) enum(s *schema, v *openapi3.Schema) {
	values := v.Enum
	if v.Const != nil {
		values = []any{v.Const}
	}
	if values == nil {
		return
	}
	s.enum = make(map[string]bool, len(values))
	var texts []string
	for _, value := range values {
		value, err := plain(value)
		if err != nil {
			c.fail(v, "enum: %w", err)
			continue
		}
		text := canonicalText(value)
		s.enum[text] = true
		texts = append(texts, text)
	}
	s.enumText = clip(strings.Join(texts, ", "), 200)
}

func (c *compiler) scalars(s *schema, v *openapi3.Schema) {
	s.min, s.max, s.multipleOf = v.Min, v.Max, v.MultipleOf
	bound := func(at openapi3.ExclusiveBound, plain **float64, excluded *bool, tighter func(a, b float64) bool) {
		if at.Bool != nil {
			*excluded = *at.Bool
		}
		if at.Value != nil && (*plain == nil || !tighter(**plain, *at.Value)) {
			*plain, *excluded = at.Value, true
		}
	}
	bound(v.ExclusiveMin, &s.min, &s.aboveMin, func(a, b float64) bool { return a > b })
	bound(v.ExclusiveMax, &s.max, &s.belowMax, func(a, b float64) bool { return a < b })
	if v.MultipleOf != nil && *v.MultipleOf <= 0 {
		c.fail(v, "multipleOf %v is not greater than 0", *v.MultipleOf)
	}
	s.minLength, s.maxLength = count(&v.MinLength), count(v.MaxLength)
	if v.Pattern != "" {
		s.pattern = c.expression(v, v.Pattern)
	}
	s.format = formats[v.Format]
}

func (c *compiler) containers(s *schema, v *openapi3.Schema) {
	s.minItems, s.maxItems, s.unique = count(&v.MinItems), count(v.MaxItems), v.UniqueItems
	s.items, s.contains = c.compile(v.Items), c.compile(v.Contains)
	s.minContains, s.maxContains = 1, count(v.MaxContains)
	if v.MinContains != nil {
		s.minContains = count(v.MinContains)
	}
	s.required, s.minProps, s.maxProps = v.Required, count(&v.MinProps), count(v.MaxProps)
	s.properties = make(map[string]*schema, len(v.Properties))
	for name, ref := range v.Properties {
		if one := c.compile(ref); one != nil {
			s.properties[name] = one
		}
	}
	for text, ref := range v.PatternProperties {
		if re, one := c.expression(v, text), c.compile(ref); re != nil && one != nil {
			s.patterns = append(s.patterns, patternSchema{re, one})
		}
	}
	switch additional := v.AdditionalProperties; {
	case additional.Schema != nil:
		s.additional = c.compile(additional.Schema)
	case additional.Has != nil && !*additional.Has:
		s.additional = &schema{never: true}
	}
	s.propertyNames, s.dependentRequired = c.compile(v.PropertyNames), v.DependentRequired
	for name, ref := range v.DependentSchemas {
		if s.dependentSchemas == nil {
			s.dependentSchemas = make(map[string]*schema)
		}
		if one := c.compile(ref); one != nil {
			s.dependentSchemas[name] = one
		}
	}
	s.checksObject = len(s.required)+len(s.properties)+len(s.patterns)+len(s.dependentRequired)+len(s.dependentSchemas) > 0 ||
		s.minProps > 0 || s.maxProps >= 0 || s.additional != nil || s.propertyNames != nil
}

// discriminate maps the values of the discriminator to alternatives: those that the
// document maps, and the names of the schemas themselves.
func (c *compiler) discriminate(s *schema, v *openapi3.Schema) {
	refs := append(append(openapi3.SchemaRefs(nil), v.OneOf...), v.AnyOf...)
	if v.Discriminator == nil || len(refs) == 0 {
		return
	}
	s.discriminator, s.mapping = v.Discriminator.PropertyName, make(map[string]*schema)
	for _, ref := range refs {
		if ref.Ref == "" {
			s.discriminator = "" // an alternative without a name can only be tried
			return
		}
		if ref.Value != nil {
			s.mapping[lastPart(ref.Ref)] = c.known[ref.Value]
		}
	}
	for value, to := range v.Discriminator.Mapping {
		one := s.mapping[lastPart(to.Ref)]
		if one == nil {
			c.fail(v, "the discriminator maps %q to %q, which is none of the alternatives", value, to.Ref)
			continue
		}
		s.mapping[value] = one
	}
}

func lastPart(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// expression compiles a pattern of ECMA 262 as one of RE2, whose time is linear in
// the text, and which has no look-around and no references back.
func (c *compiler) expression(v *openapi3.Schema, text string) *regexp.Regexp {
	re, err := regexp.Compile(unicodeEscape.ReplaceAllString(text, `\x{$1}`))
	if err != nil {
		c.fail(v, "the pattern %q cannot be checked (look-around and references back are not available): %w", text, err)
		return nil
	}
	return re
}

var unicodeEscape = regexp.MustCompile(`\\u([0-9A-Fa-f]{4})`)

// count is a bound of a count; -1 is none.
func count(n *uint64) int {
	if n == nil {
		return -1
	}
	return int(min(*n, math.MaxInt32))
}

func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}

func (c *compiler) err() error { return errors.Join(c.errs...) }
