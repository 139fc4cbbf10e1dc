package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "compress", CompressConfig{
		Encodings: []string{codingZstd, codingBrotli, codingGzip}, MinSize: kind.KiB, Types: compressible,
	}, newCompress)
}

// CompressConfig compresses answers for clients that take it (Accept-Encoding).
//
//	compress: {encodings: [zstd, gzip]}
//
// Answers stay as they are if the upstream has compressed them, if they are small, of another type, a part of
// something (206), server-sent events or gRPC, or say `Cache-Control: no-transform`. Those that might be
// compressed for another client have `Vary: Accept-Encoding`. An ETag becomes a weak one, because the
// bytes are not those that the upstream has named. What the upstream flushes goes on to the client at once.
//
// Do not compress pages that hold both a secret and something that the client has sent: over TLS the size
// of the answer then tells of the secret (BREACH). Put the block on routes without such pages.
type CompressConfig struct {
	// Encodings are those to choose from: zstd, br and gzip. Of those that a client likes equally
	// the first one is taken. Default: [zstd, br, gzip].
	Encodings []string `yaml:"encodings"`
	// MinSize is the smallest answer that is compressed. Default: 1KiB.
	MinSize kind.Size `yaml:"min_size"`
	// Types are the media types that are compressed: `text/css`, or `text/*`. Default: text/*, and of
	// application javascript, json, ld+json, manifest+json, problem+json, wasm, xml, xhtml+xml, rss+xml,
	// atom+xml and graphql-response+json, and image/svg+xml.
	Types []string `yaml:"types"`
}

// compressible are types that are worth it and of which many are large.
var compressible = []string{
	"text/*", "application/javascript", "application/json", "application/ld+json", "application/manifest+json",
	"application/problem+json", "application/wasm", "application/xml", "application/xhtml+xml", "application/rss+xml",
	"application/atom+xml", "application/graphql-response+json", "image/svg+xml",
}

const (
	acceptEncoding = "Accept-Encoding"
	maxMinSize     = kind.MiB
)

// Validate refuses what would compress nothing.
func (c CompressConfig) Validate() error {
	var errs []error
	if len(c.Encodings) == 0 {
		errs = append(errs, kind.At("encodings", "names none; leave it out for zstd, br and gzip"))
	}
	for i, name := range c.Encodings {
		at := fmt.Sprintf("encodings[%d]", i)
		switch {
		case encoders[name] == nil:
			errs = append(errs, kind.At(at, "%q is not known; write zstd, br or gzip", name))
		case slices.Contains(c.Encodings[:i], name):
			errs = append(errs, kind.At(at, "%q is there already", name))
		}
	}
	if c.MinSize < 0 || c.MinSize > maxMinSize {
		errs = append(errs, kind.At("min_size", "is not from 0 to %s: so much of an answer is held back", maxMinSize))
	}
	if len(c.Types) == 0 {
		errs = append(errs, kind.At("types", "names none; leave it out for the usual ones"))
	}
	_, err := newMediaTypes("types", c.Types)
	return errors.Join(append(errs, err)...)
}

// compress is the running middleware.
type compress struct {
	codings []coding
	min     int
	types   mediaTypes
}

// coding is a way of compressing, with encoders that are at hand.
type coding struct {
	name string
	pool *sync.Pool
}

func newCompress(c CompressConfig, _ Env) (gateway.Step, error) {
	m := &compress{min: int(c.MinSize)}
	for _, name := range c.Encodings {
		m.codings = append(m.codings, coding{name, &sync.Pool{New: encoders[name]}})
	}
	var err error
	if m.types, err = newMediaTypes("types", c.Types); err != nil {
		return gateway.Step{}, err
	}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *compress) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if untouched(r) {
			next.ServeHTTP(w, r)
			return
		}
		c := &compressWriter{ResponseWriter: w, m: m, coding: m.choose(r.Header[acceptEncoding]), head: r.Method == http.MethodHead}
		defer c.release() // after a panic too: then the answer has no end, and must not look as if it had
		next.ServeHTTP(c, r)
		c.finish()
	})
}

// untouched are requests whose answers are streams of frames of their own.
func untouched(r *http.Request) bool { return gateway.IsGRPC(r) || r.Header.Get("Upgrade") != "" }

// choose is the coding for what a client accepts (RFC 9110, 12.5.3); nil is none.
func (m *compress) choose(accept []string) *coding {
	if len(accept) == 0 {
		return nil
	}
	best, bestQuality := (*coding)(nil), 0
	for i := range m.codings {
		if q, _ := codingQuality(accept, m.codings[i].name); q > bestQuality {
			best, bestQuality = &m.codings[i], q
		}
	}
	if q, named := codingQuality(accept, codingIdentity); named && q > bestQuality {
		return nil
	}
	return best
}

// codingQuality is how much a client likes a coding, in thousandths. named says that it does not only
// follow from an asterisk.
func codingQuality(accept []string, name string) (quality int, named bool) {
	for _, line := range accept {
		for element := range strings.SplitSeq(line, ",") {
			text, param, weighted := strings.Cut(element, ";")
			text = strings.Trim(text, " \t")
			exact := strings.EqualFold(text, name) || name == codingGzip && strings.EqualFold(text, "x-gzip")
			if !exact && (text != "*" || named) {
				continue
			}
			q := 1000
			if weighted {
				key, value, _ := strings.Cut(strings.Trim(param, " \t"), "=")
				var ok bool
				if q, ok = readQuality(value); !ok || !strings.EqualFold(key, "q") {
					continue // what cannot be understood is no wish
				}
			}
			quality, named = q, exact
		}
	}
	return quality, named
}

func (m *compress) explain(r *http.Request, _ *gateway.Exchange) string {
	c := m.choose(r.Header[acceptEncoding])
	switch {
	case untouched(r):
		return "leaves the answer as it is: gRPC or an upgrade"
	case c == nil:
		return "leaves the answer as it is: the client takes none of the encodings"
	}
	return fmt.Sprintf("compresses the answer (%s) if it has one of the types and %d bytes", c.name, m.min)
}
