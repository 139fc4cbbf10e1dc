package config

import (
	"errors"
	"regexp"

	"github.com/pithead/pithead/gateway/kind"
)

// Value is what a header or a query parameter must be like: text, or one of the
// other settings. The zero Value asks for presence.
type Value struct {
	// Exact is what text stands for.
	Exact string `yaml:"-"`
	// Regex is a regular expression (RE2) for the whole value.
	Regex string `yaml:"regex"`
	// Not is the one value that does not match. None at all does.
	Not string `yaml:"not"`
	// Absent demands that there is none.
	Absent bool `yaml:"absent"`
}

// UnmarshalText takes the exact value.
func (v *Value) UnmarshalText(text []byte) error {
	*v = Value{Exact: string(text)}
	return nil
}

// Validate checks the expression.
func (v *Value) Validate() error {
	given := 0
	for _, is := range []bool{v.Exact != "", v.Regex != "", v.Not != "", v.Absent} {
		if is {
			given++
		}
	}
	if given > 1 {
		return kind.At("", "give one of regex, not and absent")
	}
	return checkRegex(v.Regex)
}

// Name is the name of a service or a method of gRPC: text, or an expression. The
// zero Name is any.
type Name struct {
	// Exact is what text stands for.
	Exact string `yaml:"-"`
	// Regex is a regular expression (RE2) for the whole name.
	Regex string `yaml:"regex"`
}

// UnmarshalText takes the name itself.
func (n *Name) UnmarshalText(text []byte) error {
	*n = Name{Exact: string(text)}
	if len(text) == 0 {
		return errors.New("an empty name is none; leave it out to match any")
	}
	return nil
}

// Validate checks the expression.
func (n *Name) Validate() error { return checkRegex(n.Regex) }

// String writes the name as a route's match is shown.
func (n Name) String() string {
	switch {
	case n.Regex != "":
		return "~" + n.Regex
	case n.Exact != "":
		return n.Exact
	}
	return "*"
}

func checkRegex(regex string) error {
	if err := checkPattern(regex); err != nil {
		return kind.At("regex", "%w", err)
	}
	return nil
}

// The names that protocol buffers allow.
var (
	serviceForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	callForm    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate checks the names.
func (g *GRPC) Validate() error {
	var f faults
	if g.Service.Exact != "" && !serviceForm.MatchString(g.Service.Exact) {
		f.at("service", "%q is no service; write its package and name, for example shop.v1.Orders", g.Service.Exact)
	}
	if g.Method.Exact != "" && !callForm.MatchString(g.Method.Exact) {
		f.at("method", "%q is no method; write its name alone, for example GetOrder", g.Method.Exact)
	}
	return f.err()
}
