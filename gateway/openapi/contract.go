package openapi

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/pithead/pithead/gateway/transcode"
)

// Options are what an operator may decide about a contract.
type Options struct {
	BasePath *string // before all paths; nil takes that of the document's first server
	Strict   bool    // parameters of a query that the document does not name are violations
	MaxDepth int     // of JSON; 0 is 64
}

// Contract is a document that requests and answers are held to. It never changes.
type Contract struct {
	Document   *transcode.Document
	Operations []*Operation

	root node
	opts Options
}

// Operation is an operation of a contract.
type Operation struct {
	*transcode.Operation

	contract   *Contract
	vars       []string // names of path parameters, in the order of the path
	parameters []*parameter
	query      map[string]bool // names of the query, for strictness
	prefixes   []string        // of names of deep objects
	free       bool            // some parameter may have any name

	takesBody, needsBody bool
	body                 contents
	responses            map[string]contents // by status, class (4XX) or default
	responseOf           map[string]*openapi3.Response
}

// content is one media type of a body.
type content struct {
	media  string
	schema *schema
	source *openapi3.MediaType
}

type contents []content

// Compile prepares a document. All mistakes are told at once, with their places.
func Compile(doc *transcode.Document, o Options) (contract *Contract, err error) {
	defer func() {
		if v := recover(); v != nil { // the library's tree may hold what nobody has foreseen
			contract, err = nil, fmt.Errorf("%s: the document cannot be used: %v", doc.File, v)
		}
	}()
	if o.MaxDepth == 0 {
		o.MaxDepth = 64
	}
	base := ""
	if o.BasePath != nil {
		base = strings.TrimSuffix(*o.BasePath, "/")
	} else if base, err = doc.BasePath(); err != nil {
		return nil, err
	}
	contract = &Contract{Document: doc, opts: o}
	c := &compiler{known: make(map[*openapi3.Schema]*schema), place: func(origins ...*openapi3.Origin) string { return doc.Position(origins...).String() }}
	for _, source := range doc.Operations {
		parts, err := parsePath(base + source.Path)
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("%s: %w", source.Pos, err))
			continue
		}
		op := c.operation(source, parts)
		op.contract = contract
		if other := contract.root.add(parts, source.Method, op); other != nil {
			c.errs = append(c.errs, fmt.Errorf("%s: %s %s is ambiguous: the one at %s has the same path", source.Pos, source.Method, source.Path, other.Pos))
		}
		contract.Operations = append(contract.Operations, op)
	}
	if len(contract.Operations) == 0 {
		c.errs = append(c.errs, fmt.Errorf("%s: has no operations", doc.File))
	}
	return contract, c.err()
}

func (c *compiler) operation(source *transcode.Operation, parts []part) *Operation {
	op := &Operation{Operation: source, query: make(map[string]bool), responses: make(map[string]contents), responseOf: make(map[string]*openapi3.Response)}
	for _, p := range parts {
		if p.name != "" {
			op.vars = append(op.vars, p.name)
		}
	}
	for _, p := range source.Parameters {
		c.parameter(op, p)
	}
	if ref := source.Op.RequestBody; ref != nil {
		if ref.Value == nil {
			c.errs = append(c.errs, fmt.Errorf("%s: the reference %q leads nowhere", source.Pos, ref.Ref))
			return op
		}
		op.takesBody, op.needsBody = true, ref.Value.Required
		op.body = c.contents(ref.Value.Content)
	}
	for status, ref := range source.Op.Responses.Map() {
		if ref == nil || ref.Value == nil {
			c.errs = append(c.errs, fmt.Errorf("%s: the response %s leads nowhere", source.Pos, status))
			continue
		}
		status = strings.ToUpper(status)
		op.responses[status], op.responseOf[status] = c.contents(ref.Value.Content), ref.Value
	}
	return op
}

func (c *compiler) contents(all openapi3.Content) contents {
	list := make(contents, 0, len(all))
	for _, media := range slices.Sorted(maps.Keys(all)) {
		m := all[media]
		if m == nil {
			continue
		}
		name, _, err := mime.ParseMediaType(media)
		if err != nil {
			c.errs = append(c.errs, fmt.Errorf("%s: %q is no media type", c.place(m.Origin), media))
			continue
		}
		list = append(list, content{media: name, schema: c.compile(m.Schema), source: m})
	}
	// What is named in full goes before what has a star.
	slices.SortStableFunc(list, func(a, b content) int { return strings.Count(a.media, "*") - strings.Count(b.media, "*") })
	return list
}

// Find is the operation of a request. Without one, allow are the methods that its
// path has.
func (c *Contract) Find(method, escapedPath string) (op *Operation, vars, allow []string) {
	path, ok := segments(escapedPath)
	if !ok {
		return nil, nil, nil
	}
	others := make(map[string]bool)
	if op, vars = c.root.find(path, nil, method, others); op == nil && method == http.MethodHead {
		op, vars = c.root.find(path, nil, http.MethodGet, others)
	}
	if op != nil {
		return op, vars, nil
	}
	return nil, nil, slices.Sorted(maps.Keys(others))
}

// match is the content that a media type belongs to.
func (c contents) match(media string) *content {
	for i := range c {
		want := c[i].media
		kind, star := strings.CutSuffix(want, "/*")
		if want == media || want == "*/*" || star && strings.HasPrefix(media, kind+"/") {
			return &c[i]
		}
	}
	return nil
}

// String lists the media types for a client.
func (c contents) String() string {
	names := make([]string, len(c))
	for i := range c {
		names[i] = c[i].media
	}
	return strings.Join(names, ", ")
}

// response is what the document says of a status; ok is false if it says nothing.
func (op *Operation) response(status int) (key string, ok bool) {
	text := strconv.Itoa(status)
	for _, key := range []string{text, text[:1] + "XX", "DEFAULT"} {
		if _, ok := op.responses[key]; ok {
			return key, true
		}
	}
	return "", false
}

// isJSON says whether a media type is JSON.
func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

var errNoMedia = errors.New("has no media type that can be read")

// mediaOf is the media type of a content type. JSON in other charsets than UTF-8 is
// not read.
func mediaOf(contentType string) (string, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", errNoMedia
	}
	if charset := params["charset"]; charset != "" && isJSON(media) && !strings.EqualFold(charset, "utf-8") {
		return "", fmt.Errorf("is JSON in %s; it must be UTF-8", clip(charset, 20))
	}
	return media, nil
}
