package middleware

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "decompress", DecompressConfig{
		Encodings: []string{codingGzip, codingDeflate, codingZstd, codingBrotli}, MaxSize: 10 * kind.MiB, MaxRatio: 100,
	}, newDecompress)
}

// DecompressConfig decompresses the bodies of requests before they go upstream, and refuses those
// that would become too large (zip bombs) before the upstream has read them to the end.
//
//	decompress: {encodings: [gzip], max_size: 1MiB}
//
// A body of another Content-Encoding, or of several at once, is a 415; one that is malformed,
// cut off or has something after its end a 400; one that becomes too large a 413. The upstream gets
// the body without Content-Encoding and without a length. `body_limit` of the route bounds
// what the client sends, compressed as it is.
type DecompressConfig struct {
	// Encodings are those that are decompressed: gzip, deflate (zlib, RFC 1950), zstd and br. An empty
	// list refuses every body that is compressed. Default: [gzip, deflate, zstd, br].
	Encodings []string `yaml:"encodings"`
	// MaxSize bounds the body as it is decompressed. Default: 10MiB.
	MaxSize kind.Size `yaml:"max_size"`
	// MaxRatio bounds how many times larger a body becomes, beyond its first 64 KiB. Default: 100.
	MaxRatio int `yaml:"max_ratio"`
}

// Content codings, as they are registered.
const (
	codingGzip     = "gzip"
	codingDeflate  = "deflate"
	codingZstd     = "zstd"
	codingBrotli   = "br"
	codingIdentity = "identity"
)

// Validate refuses what cannot be decompressed.
func (c DecompressConfig) Validate() error {
	var errs []error
	for i, name := range c.Encodings {
		if _, ok := decoders[name]; !ok {
			errs = append(errs, kind.At(fmt.Sprintf("encodings[%d]", i), "%q cannot be decompressed; known are gzip, deflate, zstd and br", name))
		}
	}
	if c.MaxSize < 1 {
		errs = append(errs, kind.At("max_size", "must be more than 0; to refuse compressed bodies, write encodings: []"))
	}
	if c.MaxRatio < 1 {
		errs = append(errs, kind.At("max_ratio", "must be at least 1"))
	}
	return errors.Join(errs...)
}

var (
	errCoding    = overLimit(http.StatusUnsupportedMediaType, "decompress_encoding", "this route does not take bodies of this Content-Encoding")
	errInflated  = closing(overLimit(http.StatusRequestEntityTooLarge, "decompress_size", "the body is larger than this route allows"))
	errRatio     = closing(overLimit(http.StatusRequestEntityTooLarge, "decompress_ratio", "the body becomes too large when it is decompressed"))
	errMalformed = gateway.BadRequest("decompress_malformed", "the body is not what its Content-Encoding says")
)

func closing(e *gateway.Error) *gateway.Error {
	e.Close = true
	return e
}

// decompress is the running middleware.
type decompress struct {
	codings   []string
	size, per int64
}

func newDecompress(c DecompressConfig, _ Env) (gateway.Step, error) {
	m := &decompress{c.Encodings, int64(c.MaxSize), int64(c.MaxRatio)}
	return gateway.Step{Wrap: m.wrap, Explain: m.explain}, nil
}

func (m *decompress) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		coding, ok := m.codingOf(r)
		switch {
		case !ok:
			gateway.Fail(w, r, errCoding)
			return
		case coding != "":
			r = m.inflated(r, coding)
		}
		next.ServeHTTP(w, r)
	})
}

// codingOf is the coding to undo, "" for none. It is false for what is not allowed: also for several, of
// which one could hide what another one makes of it.
func (m *decompress) codingOf(r *http.Request) (coding string, ok bool) {
	values := r.Header["Content-Encoding"]
	switch len(values) {
	case 0:
		return "", true
	case 1:
	default:
		return "", false
	}
	coding = strings.ToLower(strings.Trim(values[0], " \t"))
	switch coding {
	case "", codingIdentity:
		return "", true
	case "x-gzip":
		coding = codingGzip
	}
	return coding, slices.Contains(m.codings, coding)
}

// inflated is a copy of the request with the body that its upstream gets. The access log holds
// on to the one that came.
func (m *decompress) inflated(r *http.Request, coding string) *http.Request {
	if r.ContentLength == 0 {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	for _, name := range ofEncodedBody {
		delete(out.Header, name)
	}
	out.ContentLength = -1
	out.Body = &inflatedBody{body: r.Body, source: encodedSource{r: r.Body}, open: decoders[coding], size: m.size, per: m.per}
	return out
}

// ofEncodedBody say something of a body that is true in one encoding only.
var ofEncodedBody = []string{"Content-Encoding", "Content-Length", "Content-Digest", "Repr-Digest", "Content-Md5"}

func (m *decompress) explain(r *http.Request, x *gateway.Exchange) string {
	coding, ok := m.codingOf(r)
	switch {
	case !ok:
		x.Status = errCoding.Status
		return fmt.Sprintf("answers %d (%s): %s", errCoding.Status, errCoding.Reason, errCoding.Msg)
	case coding == "":
		return "passes: the body is not compressed"
	}
	return fmt.Sprintf("decompresses the body (%s), to at most %d bytes and %d times its size", coding, m.size, m.per)
}
