package grpcweb

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestTextReader(t *testing.T) {
	long := strings.Repeat("a long message. ", 2000)
	tests := []struct {
		name, text, want string
		err              error
	}{
		{name: "nothing"},
		{name: "one piece", text: "YWJj", want: "abc"},
		{name: "padded", text: "YQ==", want: "a"},
		{name: "padded pieces", text: "YQ==YWI=YWJjYQ==", want: "aababca"},
		{name: "long", text: base64.StdEncoding.EncodeToString([]byte(long)), want: long},
		{name: "cut", text: "YWJjYW", want: "abc", err: ErrText},
		{name: "padding alone", text: "====", err: ErrText},
		{name: "more behind the padding", text: "YQ=a", err: ErrText},
		{name: "bits that are lost", text: "YR==", err: ErrText},
		{name: "other letters", text: "YW-_", err: ErrText},
		{name: "line ends", text: "YWJj\r\n\r\n", want: "abc", err: ErrText},
	}
	for _, tt := range tests {
		for name, in := range map[string]io.Reader{
			"whole": strings.NewReader(tt.text), "by bytes": iotest.OneByteReader(strings.NewReader(tt.text)),
		} {
			for out, wrap := range map[string]func(io.Reader) io.Reader{
				"whole": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader,
			} {
				t.Run(tt.name+" in "+name+" out "+out, func(t *testing.T) {
					got, err := io.ReadAll(wrap(&TextReader{In: in}))
					if string(got) != tt.want || !errors.Is(err, tt.err) {
						t.Errorf("%d bytes and %v, want %d and %v", len(got), err, len(tt.want), tt.err)
					}
					in = strings.NewReader(tt.text)
				})
			}
		}
	}
}

func TestTextWriterPadsAtAFlush(t *testing.T) {
	var out bytes.Buffer
	w := TextWriter{Out: &out}
	for _, piece := range []string{"a", "b", "cd", "", "ef"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := out.String(); got != "YWJjZGVm" {
		t.Errorf("without a flush %q", got)
	}
	if _, err := w.Write([]byte("g")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Flush(), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "YWJjZGVmZw==" {
		t.Errorf("after the flush %q", got)
	}
}

// Whatever is written, in whatever pieces, is read again; and whatever is read
// without an error is what the pieces say, one by one.
func FuzzText(f *testing.F) {
	f.Add([]byte("some bytes"), uint8(3), "YQ==YWI=")
	f.Add([]byte{}, uint8(0), "YQ=a")
	f.Fuzz(func(t *testing.T, data []byte, step uint8, text string) {
		var out bytes.Buffer
		w := TextWriter{Out: &out}
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(step)+1)
			_, err := w.Write(rest[:n])
			if err == nil && n%2 == 0 {
				err = w.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(&TextReader{In: &out}); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%q became %q, %v", data, got, err)
		}
		got, err := io.ReadAll(&TextReader{In: iotest.HalfReader(strings.NewReader(text))})
		want, wantErr := quantumByQuantum(text)
		if err == nil != wantErr || wantErr && !bytes.Equal(got, want) {
			t.Fatalf("%q is %q, %v; want %q, %v", text, got, err, want, wantErr)
		}
	})
}

// quantumByQuantum is the decoder in its simplest form.
func quantumByQuantum(text string) (out []byte, ok bool) {
	for len(text) > 0 {
		if len(text) < 4 || strings.ContainsAny(text[:4], "\r\n") {
			return out, false
		}
		b, err := base64.StdEncoding.Strict().DecodeString(text[:4])
		if err != nil {
			return out, false
		}
		out, text = append(out, b...), text[4:]
	}
	return out, true
}
