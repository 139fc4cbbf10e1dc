package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decode reads one JSON value. It takes less than encoding/json does: a member that
// comes twice, bytes that are no UTF-8 and too much depth are refused, because the
// service behind might read another value than the one that was checked. Numbers
// stay as they are written.
func Decode(text []byte, maxDepth int) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("is not UTF-8")
	}
	d := decoder{dec: json.NewDecoder(bytes.NewReader(text)), left: maxDepth}
	d.dec.UseNumber()
	v, err := d.value()
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("is no JSON: it breaks off")
		}
		return nil, err
	}
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something behind the JSON value")
	}
	return v, nil
}

type decoder struct {
	dec  *json.Decoder
	left int // of the depth
}

func (d *decoder) value() (any, error) {
	token, err := d.token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if d.left--; d.left < 0 {
		return nil, errors.New("is nested too deeply")
	}
	defer func() { d.left++ }()
	if delim == '[' {
		list := []any{}
		for d.dec.More() {
			v, err := d.value()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.token()
		return list, err
	}
	return d.members()
}

func (d *decoder) members() (any, error) {
	members := map[string]any{}
	for d.dec.More() {
		token, err := d.token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the decoder lets nothing else stand here
		if _, twice := members[name]; twice {
			return nil, fmt.Errorf("has the member %.40q twice", name)
		}
		if members[name], err = d.value(); err != nil {
			return nil, err
		}
	}
	_, err := d.token()
	return members, err
}

func (d *decoder) token() (json.Token, error) {
	token, err := d.dec.Token()
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return nil, fmt.Errorf("is no JSON, at byte %d", syntax.Offset)
	}
	return token, err
}

// plain makes a value of a document what Decode makes of one in a body.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var out any
	return out, d.Decode(&out)
}

// canonical is a text that equal values share: 1 and 1.0 are equal, the order of
// members says nothing.
func canonical(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case string:
		b.WriteString(strconv.Quote(v))
	case json.Number:
		b.WriteString(canonicalNumber(string(v)))
	case []any:
		b.WriteByte('[')
		for _, e := range v {
			canonical(b, e)
			b.WriteByte(',')
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for _, name := range sortedNames(v) {
			b.WriteString(strconv.Quote(name))
			b.WriteByte(':')
			canonical(b, v[name])
			b.WriteByte(',')
		}
		b.WriteByte('}')
	}
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// canonicalNumber writes integers in full, however large, and all others as the
// nearest float.
func canonicalNumber(text string) string {
	if !strings.ContainsAny(text, ".eE") {
		if text == "-0" {
			return "0"
		}
		return text
	}
	f, err := strconv.ParseFloat(text, 64)
	if err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func canonicalText(v any) string {
	var b strings.Builder
	canonical(&b, v)
	return b.String()
}
