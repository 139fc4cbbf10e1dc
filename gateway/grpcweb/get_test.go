package grpcweb

import (
	"encoding/base64"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseGet(t *testing.T) {
	tests := []struct {
		name, query string
		want        *Get // nil for an error
	}{
		{"in base64", "connect=v1&encoding=proto&base64=1&message=_-8", &Get{Encoding: "proto", Message: []byte{0xff, 0xef}}},
		{"padded", "encoding=proto&base64=1&message=_w%3d%3D", &Get{Encoding: "proto", Message: []byte{0xff}}},
		{"percent-encoded", "encoding=json&message=%7B%22id%22%3A%227%22%7D", &Get{Encoding: "json", Message: []byte(`{"id":"7"}`)}},
		{"compressed", "encoding=json&compression=gzip&base64=1&message=AA", &Get{"json", "gzip", []byte{0}}},
		{"not compressed", "encoding=json&compression=identity&message=x", &Get{Encoding: "json", Message: []byte("x")}},
		{"empty", "encoding=proto&message=", &Get{Encoding: "proto", Message: []byte{}}},
		{"with others", "encoding=proto&message=&api_key=7", &Get{Encoding: "proto", Message: []byte{}}},
		{"another version", "connect=v2&encoding=proto&message=", nil},
		{"not URL-safe", "encoding=proto&base64=1&message=%2F%2B8", nil},
		{"cut base64", "encoding=proto&base64=1&message=A", nil},
		{"base64 perhaps", "encoding=proto&base64=yes&message=AA", nil},
		{"two messages", "encoding=proto&message=a&message=b", nil},
		{"malformed", "encoding=proto&message=%zz", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseGet(tt.query)
			if (err == nil) != (tt.want != nil) || !cmp.Equal(got, tt.want) {
				t.Errorf("%v\n%s", err, cmp.Diff(tt.want, got))
			}
		})
	}
}

func TestIsGet(t *testing.T) {
	for query, want := range map[string]bool{
		"": false, "message=a": false, "encoding=json": false, "xencoding=json&xmessage=": false,
		"encoding=json&message=": true, "message=&connect=v1&encoding=proto": true,
	} {
		if IsGet(query) != want {
			t.Errorf("%q: %v", query, !want)
		}
	}
}

// What is accepted means the same when it is written anew, and nothing panics.
func FuzzParseGet(f *testing.F) {
	f.Add("connect=v1&encoding=proto&base64=1&message=_-8")
	f.Add("encoding=json&message=%7B%7D&compression=gzip")
	f.Fuzz(func(t *testing.T, query string) {
		g, err := ParseGet(query)
		if err != nil {
			return
		}
		again := url.Values{
			"connect": {"v1"}, "encoding": {g.Encoding}, "compression": {g.Compression}, "base64": {"1"},
			"message": {base64.RawURLEncoding.EncodeToString(g.Message)},
		}
		g2, err := ParseGet(again.Encode())
		if err != nil || !cmp.Equal(g, g2) {
			t.Fatalf("%q: %v\n%s", query, err, cmp.Diff(g, g2))
		}
	})
}
