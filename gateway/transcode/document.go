package transcode

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxDocument bounds an OpenAPI document together with the files that it refers to.
const maxDocument = 8 << 20

// Document is an OpenAPI document of version 3.0 or 3.1.
type Document struct {
	File string
	T    *openapi3.T
	// Files are all files that the document is made of, File among them.
	Files []string
	// Operations are sorted by path and method.
	Operations []*Operation
}

// Operation is one operation of a document.
type Operation struct {
	Method, Path string
	Op           *openapi3.Operation
	// Parameters are those of the operation and of its path, without those that the
	// operation replaces.
	Parameters []*openapi3.Parameter
	// Secured says that no caller without an identity may use it.
	Secured bool
	Pos     Position
}

// ReadDocument reads a document. References lead to files in its folder or below
// it, and nowhere else.
func ReadDocument(file string) (doc *Document, err error) {
	defer func() {
		if v := recover(); v != nil { // CVE-2026-73502: some documents make the library panic
			doc, err = nil, fmt.Errorf("%s: the document cannot be read: %v", file, v)
		}
	}()
	whole, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	d := &Document{File: file}
	loader := openapi3.NewLoader()
	loader.IncludeOrigin = true
	loader.IsExternalRefsAllowed = true
	loader.ReadFromURIFunc = d.reader(filepath.Dir(whole))
	d.T, err = loader.LoadFromFile(whole)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !strings.HasPrefix(d.T.OpenAPI, "3.0") && !strings.HasPrefix(d.T.OpenAPI, "3.1") {
		return nil, fmt.Errorf("%s: openapi is %q; it must be 3.0 or 3.1", file, d.T.OpenAPI)
	}
	return d, d.collect()
}

// reader reads the files of the document.
func (d *Document) reader(root string) func(*openapi3.Loader, *url.URL) ([]byte, error) {
	left := int64(maxDocument)
	return func(_ *openapi3.Loader, u *url.URL) ([]byte, error) {
		if u.Scheme != "" && u.Scheme != "file" || u.Host != "" {
			return nil, fmt.Errorf("%s is no file; references to the network are not followed", u)
		}
		path := filepath.FromSlash(u.Path)
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil, err
		}
		rootReal, err := filepath.EvalSymlinks(root)
		if err != nil {
			return nil, err
		}
		if rel, err := filepath.Rel(rootReal, real); err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(os.PathSeparator)) {
			if len(d.Files) > 0 { // the document itself may be a link
				return nil, fmt.Errorf("%s is outside the folder of the document", path)
			}
		}
		raw, err := readBounded(path, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(raw))
		if !slices.Contains(d.Files, path) {
			d.Files = append(d.Files, path)
		}
		return raw, nil
	}
}

// collect finds the operations.
func (d *Document) collect() error {
	var errs []error
	paths := d.T.Paths.Map()
	for path, item := range paths {
		if item == nil {
			continue
		}
		for method, op := range item.Operations() {
			o := &Operation{Method: method, Path: path, Op: op, Pos: d.position(op.Origin, item.Origin)}
			o.Secured = secured(d.T.Security, op.Security)
			for _, refs := range []openapi3.Parameters{op.Parameters, item.Parameters} {
				for _, ref := range refs {
					if ref == nil || ref.Value == nil {
						errs = append(errs, fmt.Errorf("%s: %s %s has a parameter that leads nowhere", o.Pos, method, path))
						continue
					}
					if !o.has(ref.Value) {
						o.Parameters = append(o.Parameters, ref.Value)
					}
				}
			}
			d.Operations = append(d.Operations, o)
		}
	}
	slices.SortFunc(d.Operations, func(a, b *Operation) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return errors.Join(errs...)
}

func (o *Operation) has(p *openapi3.Parameter) bool {
	return slices.ContainsFunc(o.Parameters, func(q *openapi3.Parameter) bool { return q.Name == p.Name && q.In == p.In })
}

// position is the first place that is known.
func (d *Document) position(origins ...*openapi3.Origin) Position {
	for _, o := range origins {
		if o != nil && o.Key != nil && o.Key.Line > 0 {
			file := d.File
			if o.Key.File != "" && filepath.Base(o.Key.File) != filepath.Base(d.File) {
				file = o.Key.File
			}
			return Position{File: file, Line: o.Key.Line, Column: o.Key.Column}
		}
	}
	return Position{File: d.File}
}

// Position is where an element of the document stands: the first place that is known.
func (d *Document) Position(origins ...*openapi3.Origin) Position { return d.position(origins...) }

// secured says whether all ways to use an operation ask who the caller is: an empty
// requirement among the alternatives makes it optional.
func secured(all openapi3.SecurityRequirements, own *openapi3.SecurityRequirements) bool {
	if own != nil {
		all = *own
	}
	return len(all) > 0 && !slices.ContainsFunc(all, func(r openapi3.SecurityRequirement) bool { return len(r) == 0 })
}

// BasePath is the path of the document's first server, without a slash at its end.
func (d *Document) BasePath() (string, error) {
	if len(d.T.Servers) == 0 || d.T.Servers[0] == nil {
		return "", nil
	}
	s := d.T.Servers[0]
	text := s.URL
	for name, v := range s.Variables {
		if v != nil {
			text = strings.ReplaceAll(text, "{"+name+"}", v.Default)
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%s: servers[0].url: %w", d.position(s.Origin), err)
	}
	return strings.TrimSuffix(u.EscapedPath(), "/"), nil
}

// extension is a member of the operation whose name begins with x-, if it is a text.
func (o *Operation) extension(name string) (string, bool, error) {
	v, ok := o.Op.Extensions[name]
	if !ok {
		return "", false, nil
	}
	s, ok := v.(string)
	if !ok {
		return "", false, fmt.Errorf("%s: %s is no text", o.Pos, name)
	}
	return s, true, nil
}

// httpMethods are those that a binding may have.
var httpMethods = []string{
	http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions,
}
