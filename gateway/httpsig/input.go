package httpsig

import (
	"errors"
	"strings"

	"github.com/dunglas/httpsfv"
)

// The bounds of what is looked at before anything has been proven.
const (
	maxSignatures = 8
	maxComponents = 64
	maxField      = 16 << 10
	maxSignature  = 1024 // bytes; RSA with 8192 bits
)

// ErrMalformed says that Signature-Input or Signature is not what it should be.
var ErrMalformed = errors.New("the signature fields are malformed")

// Signature is one signature of a message with what it says of itself.
type Signature struct {
	Label      string
	Components []Component
	Value      []byte

	// Created and Expires are seconds since 1970. They mean nothing unless the
	// signature has them.
	Created, Expires       int64
	HasCreated, HasExpires bool

	// KeyID, Algorithm, Nonce and Tag are "" where the signature has none.
	KeyID, Algorithm, Nonce, Tag string

	params string // the value of @signature-params
}

// Component is one covered part of the message.
type Component struct {
	Name string // in lower case; those that begin with @ are derived
	// Key is the member of a dictionary that is covered, Param the query parameter.
	Key, Param string
	// Strict is the parameter sf: the field in its canonical form. Binary is bs: its
	// lines, each one encoded.
	Strict, Binary bool

	id string // as it stands in the signature base
}

// Whole says whether the component covers all of a field and not a part of it.
func (c Component) Whole() bool { return c.Key == "" && c.Param == "" }

// Parse reads the two fields of a message. A message without both has no
// signatures. Every label must stand in both fields, and once.
func Parse(inputs, values []string) ([]Signature, error) {
	if len(inputs) == 0 && len(values) == 0 {
		return nil, nil
	}
	in, err := dictionary(inputs)
	if err != nil {
		return nil, err
	}
	out, err := dictionary(values)
	if err != nil {
		return nil, err
	}
	labels := in.Names()
	if len(labels) == 0 || len(labels) > maxSignatures || len(labels) != len(out.Names()) {
		return nil, ErrMalformed
	}
	all := make([]Signature, 0, len(labels))
	for _, label := range labels {
		member, _ := in.Get(label)
		list, isList := member.(httpsfv.InnerList)
		value, there := out.Get(label)
		item, isItem := value.(httpsfv.Item)
		if !isList || !there || !isItem {
			return nil, ErrMalformed
		}
		s, err := signature(label, list, item)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// dictionary reads a field and insists on its canonical form, but for white space:
// the library takes the last of two members or parameters with one name, and
// others take the first.
func dictionary(lines []string) (*httpsfv.Dictionary, error) {
	size := 0
	for _, line := range lines {
		size += len(line)
	}
	if size > maxField {
		return nil, ErrMalformed
	}
	d, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil {
		return nil, ErrMalformed
	}
	canonical, err := httpsfv.Marshal(d)
	if err != nil || !sameButSpace(strings.Join(lines, ","), canonical) {
		return nil, ErrMalformed
	}
	return d, nil
}

// sameButSpace compares two structured fields, and leaves out the white space
// that stands outside of strings.
func sameButSpace(a, b string) bool {
	if a == b {
		return true
	}
	return withoutSpace(a) == withoutSpace(b)
}

func withoutSpace(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	quoted, escaped := false, false
	for i := range len(s) {
		c := s[i]
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		}
		if quoted || c != ' ' && c != '\t' {
			out.WriteByte(c)
		}
	}
	return out.String()
}

func signature(label string, list httpsfv.InnerList, item httpsfv.Item) (s Signature, err error) {
	value, isBytes := item.Value.([]byte)
	if !isBytes || len(value) == 0 || len(value) > maxSignature || len(item.Params.Names()) > 0 || len(list.Items) > maxComponents {
		return s, ErrMalformed
	}
	s = Signature{Label: label, Value: value}
	if s.params, err = httpsfv.Marshal(list); err != nil {
		return s, ErrMalformed
	}
	if err := s.read(list.Params); err != nil {
		return s, err
	}
	for _, one := range list.Items {
		c, err := component(one)
		if err != nil {
			return s, err
		}
		for _, before := range s.Components {
			if before.id == c.id {
				return s, ErrMalformed // RFC 9421, 2.5: each one once
			}
		}
		s.Components = append(s.Components, c)
	}
	return s, nil
}

// read takes the parameters of a signature, RFC 9421, 2.3. One that is not known
// may change what the signature means, and is refused.
func (s *Signature) read(params *httpsfv.Params) error {
	for _, name := range params.Names() {
		value, _ := params.Get(name)
		var ok bool
		switch name {
		case "created":
			s.Created, s.HasCreated = value.(int64)
			ok = s.HasCreated && s.Created >= 0
		case "expires":
			s.Expires, s.HasExpires = value.(int64)
			ok = s.HasExpires && s.Expires >= 0
		case "keyid":
			s.KeyID, ok = value.(string)
		case "alg":
			s.Algorithm, ok = value.(string)
			ok = ok && s.Algorithm != ""
		case "nonce":
			s.Nonce, ok = value.(string)
			ok = ok && s.Nonce != ""
		case "tag":
			s.Tag, ok = value.(string)
		}
		if !ok {
			return ErrMalformed
		}
	}
	return nil
}

// component reads the identifier of a component, RFC 9421, 2.
func component(item httpsfv.Item) (c Component, err error) {
	name, isText := item.Value.(string)
	if !isText || name == "" || name != strings.ToLower(name) || name == "@signature-params" {
		return c, ErrMalformed
	}
	c.Name = name
	if c.id, err = httpsfv.Marshal(item); err != nil {
		return c, ErrMalformed
	}
	for _, param := range item.Params.Names() {
		value, _ := item.Params.Get(param)
		text, isText := value.(string)
		field := name[0] != '@'
		switch {
		case param == "sf" && field && value == true:
			c.Strict = true
		case param == "bs" && field && value == true:
			c.Binary = true
		case param == "key" && field && isText && text != "":
			c.Key = text
		case param == "name" && name == "@query-param" && isText && text != "":
			c.Param = text
		default: // req and tr are of answers and trailers; the rest is not known
			return c, ErrMalformed
		}
	}
	if c.Binary && (c.Strict || c.Key != "") || name == "@query-param" && c.Param == "" {
		return c, ErrMalformed
	}
	return c, nil
}
