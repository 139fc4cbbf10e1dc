package middleware_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// packed is a text in a content coding.
func packed(t testing.TB, coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		e, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = e
	default:
		return []byte(text)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inflate sends a body through the middleware, and is what an upstream reads of it.
func inflate(t *testing.T, block, coding string, body io.Reader) (got string, sent *http.Request, err error) {
	t.Helper()
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, block)
	r := middlewaretest.Request(t, "POST /\nContent-Digest: sha-256=:x:\nContent-Length: 5")
	r.Body, r.ContentLength = io.NopCloser(body), 5
	if coding != "" {
		r.Header.Set("Content-Encoding", coding)
	}
	x := &gateway.Exchange{}
	w := &recorder{h: http.Header{}}
	step.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		sent = r
		var text []byte
		text, err = io.ReadAll(r.Body)
		got = string(text)
		if closing := r.Body.Close(); closing != nil {
			t.Error(closing)
		}
	})).ServeHTTP(w, gateway.WithExchange(r, x))
	if sent == nil {
		err = x.Err
	}
	if coding != "" && r.Header.Get("Content-Encoding") != coding {
		t.Error("the request that came was changed")
	}
	return got, sent, err
}

var allCodings = []string{"gzip", "deflate", "zstd", "br"}

func TestDecompress(t *testing.T) {
	text := strings.Repeat("hello, world; ", 1000)
	for _, coding := range append(allCodings, "", "identity") {
		t.Run("coding "+coding, func(t *testing.T) {
			got, sent, err := inflate(t, "decompress: {}", coding, bytes.NewReader(packed(t, coding, text)))
			if err != nil || got != text {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			touched := coding != "" && coding != "identity"
			if touched != (sent.ContentLength == -1) || touched != (sent.Header.Get("Content-Encoding")+sent.Header.Get("Content-Digest")+sent.Header.Get("Content-Length") == "") {
				t.Errorf("length %d, %v", sent.ContentLength, sent.Header)
			}
		})
	}
	if got, _, err := inflate(t, "decompress: {}", "X-GZIP", bytes.NewReader(packed(t, "gzip", "x"))); got != "x" || err != nil {
		t.Errorf("x-gzip: %q, %v", got, err)
	}
}

func TestDecompressRefuses(t *testing.T) {
	bomb := strings.Repeat("\x00", 2<<20)
	reasons := func(block, coding string, body io.Reader) string {
		got, _, err := inflate(t, block, coding, body)
		e, ok := errors.AsType[*gateway.Error](err)
		if !ok {
			return fmt.Sprintf("%d bytes, %v", len(got), err)
		}
		return fmt.Sprint(e.Status, " ", e.Reason)
	}
	f := func(name, block, coding string, body []byte, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if got := reasons(block, coding, bytes.NewReader(body)); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	for _, coding := range allCodings {
		text := strings.Repeat("0123456789abcdef", 64)
		whole := packed(t, coding, text)
		f(coding+" bomb by ratio", "decompress: {}", coding, packed(t, coding, bomb), "413 decompress_ratio")
		f(coding+" too large", "decompress: {max_size: 1KiB, max_ratio: 1000000}", coding, packed(t, coding, text+"x"), "413 decompress_size")
		f(coding+" cut off", "decompress: {}", coding, whole[:len(whole)-3], "400 decompress_malformed")
		f(coding+" with more behind it", "decompress: {}", coding, append(bytes.Clone(whole), "GET / HTTP/1.1"...), "400 decompress_malformed")
		f(coding+" that is none", "decompress: {}", coding, []byte("hello, hello, hello"), "400 decompress_malformed")
		f(coding+" not allowed", "decompress: {encodings: []}", coding, whole, "415 decompress_encoding")
	}
	f("unknown", "decompress: {}", "compress", nil, "415 decompress_encoding")
	f("two codings", "decompress: {}", "gzip, gzip", nil, "415 decompress_encoding")
	f("exactly as large as allowed", "decompress: {max_size: 4}", "gzip", packed(t, "gzip", "1234"), "4 bytes, <nil>")
	broken := errors.New("the client left")
	_, _, err := inflate(t, "decompress: {}", "gzip", io.MultiReader(bytes.NewReader(packed(t, "gzip", "hello, world")[:15]), readerOf(func([]byte) (int, error) { return 0, broken })))
	if !errors.Is(err, broken) {
		t.Errorf("%v, want the error of the body", err)
	}
}

type readerOf func([]byte) (int, error)

func (f readerOf) Read(p []byte) (int, error) { return f(p) }

func TestDecompressExplain(t *testing.T) {
	env, _ := orders(t)
	step := middlewaretest.Build(t, env, "decompress: {encodings: [gzip]}")
	f := func(coding, want string, status int) {
		t.Helper()
		x := &gateway.Exchange{}
		if got := step.Explain(middlewaretest.Request(t, "POST /\nContent-Encoding: "+coding+"\n\nx"), x); !strings.HasPrefix(got, want) || x.Status != status {
			t.Errorf("%q, %d", got, x.Status)
		}
	}
	f("", "passes", 0)
	f("gzip", "decompresses the body (gzip)", 0)
	f("br", "answers 415 (decompress_encoding)", 415)
}

func TestDecompressMistakes(t *testing.T) {
	env, _ := orders(t)
	f := func(block, want string) {
		t.Helper()
		if diff := cmp.Diff([]string{want}, middlewaretest.Mistakes(t, env, block)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", block, diff)
		}
	}
	f("decompress: {encodings: [lzma]}", `1:26: "lzma" cannot be decompressed; known are gzip, deflate, zstd and br`)
	f("decompress: {max_size: 0}", "1:24: must be more than 0; to refuse compressed bodies, write encodings: []")
	f("decompress: {max_ratio: 0}", "1:25: must be at least 1")
}
