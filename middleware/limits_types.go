package middleware

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

// mediaTypes are media types in lower case: exact ones, and `type/` for all of a type.
type mediaTypes map[string]bool

// newMediaTypes reads a list of `type/subtype` and `type/*`; nil is an empty one.
func newMediaTypes(path string, list []string) (types mediaTypes, err error) {
	var errs []error
	for i, text := range list {
		typ, sub, ok := strings.Cut(text, "/")
		if !ok || !grammar.IsToken(typ) || !grammar.IsToken(sub) || typ == "*" || strings.Contains(sub, "*") && sub != "*" {
			errs = append(errs, kind.At(fmt.Sprintf("%s[%d]", path, i), "%q is no media type; write type/subtype or type/*", text))
			continue
		}
		if types == nil {
			types = make(mediaTypes, len(list))
		}
		types[strings.ToLower(strings.TrimSuffix(text, "*"))] = true
	}
	return types, errors.Join(errs...)
}

// has says whether the value of a Content-Type is of one of the types.
func (t mediaTypes) has(contentType string) bool {
	name, _, _ := strings.Cut(contentType, ";")
	name = strings.ToLower(strings.Trim(name, " \t"))
	slash := strings.IndexByte(name, '/')
	return slash > 0 && slash < len(name)-1 && (t[name] || t[name[:slash+1]])
}

// paramName is the name of a query parameter as an upstream decodes it.
func paramName(raw string) string {
	if name, err := url.QueryUnescape(raw); err == nil {
		return name
	}
	return raw
}
