package http1

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway/grammar"
)

const (
	// maxChunkLine bounds the line before a chunk, with its extensions.
	maxChunkLine = 256
	// maxChunkWaste bounds how much longer than usualLine such lines are together,
	// so that nobody is kept busy by extensions (CVE-2023-39326).
	maxChunkWaste = 16 << 10
	usualLine     = 16
	maxChunkSize  = 1 << 62
)

var crlf = []byte("\r\n")

// chunks reads a body in chunks (RFC 9112 section 7.1), strictly: each line ends in
// CRLF, and behind a chunk comes nothing but that.
type chunks struct {
	left  int64 // of the present chunk
	begun bool  // there was a chunk, whose CRLF is still to come
	last  bool  // the last one has come, but not the trailers
	waste int64 // see maxChunkWaste
}

// read is io.Reader. It waits only while it has nothing to return.
func (d *chunks) read(r *reader, p []byte, most int, trailer *http.Header) (n int, err error) {
	for {
		switch {
		case d.left > 0 && (n == len(p) || n > 0 && len(r.buffered()) == 0):
			return n, nil
		case d.left > 0:
			m, err := r.read(p[n:min(int64(len(p)), int64(n)+d.left)])
			n += m
			d.left -= int64(m)
			if err != nil {
				return n, truncated(err)
			}
		case n > 0 && !d.isHere(r.buffered()):
			return n, nil
		case d.last:
			return n, d.end(r, most, trailer)
		default:
			if err := d.next(r); err != nil {
				return n, truncated(err)
			}
		}
	}
}

// isHere says whether what comes next needs no waiting.
func (d *chunks) isHere(b []byte) bool {
	if d.last {
		return bytes.HasPrefix(b, crlf) || bytes.Contains(b, []byte("\r\n\r\n"))
	}
	if d.begun {
		b = b[min(len(b), len(crlf)):]
	}
	return bytes.IndexByte(b, '\n') >= 0
}

// next reads the line before a chunk.
func (d *chunks) next(r *reader) error {
	if d.begun {
		if at, err := r.at(crlf); err != nil || !at {
			return orInvalid(err, "a chunk is longer than it says")
		}
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	size, used := parseHex(line)
	extension := bytes.TrimLeft(line[used:], " \t")
	if used == 0 || size > maxChunkSize || len(extension) > 0 && extension[0] != ';' || !grammar.IsValue(extension) {
		return &AnswerError{"bad chunk size " + quote(string(line))}
	}
	if d.waste = max(0, d.waste+int64(len(line))-usualLine-2*int64(min(size, maxChunkWaste))); d.waste > maxChunkWaste {
		return &AnswerError{"more about chunks than in them"}
	}
	d.left, d.begun, d.last = int64(size), true, size == 0
	return nil
}

// end reads the trailers.
func (d *chunks) end(r *reader, most int, trailer *http.Header) error {
	if none, err := r.at(crlf); err != nil || none {
		if err != nil {
			return truncated(err)
		}
		return io.EOF
	}
	text, err := r.block(most)
	if err != nil {
		return truncated(err)
	}
	if strings.Count(text, "\n") != strings.Count(text, "\r\n") || !bytes.HasSuffix(r.buf[:r.r], crlf) {
		return &AnswerError{"the line of a trailer does not end in CRLF"}
	}
	fields, err := parseFields(text)
	if err != nil {
		return err
	}
	maps.DeleteFunc(fields, func(name string, _ []string) bool { return isFraming(name) }) // RFC 9110 section 6.5.1
	if *trailer == nil {
		*trailer = fields
	} else {
		maps.Copy(*trailer, fields)
	}
	return io.EOF
}

// at says whether text comes next, and takes it if so.
func (r *reader) at(text []byte) (bool, error) {
	for len(r.buffered()) < len(text) {
		if err := r.fill(); err != nil {
			return false, err
		}
	}
	if !bytes.HasPrefix(r.buffered(), text) {
		return false, nil
	}
	r.r += len(text)
	return true, nil
}

// line takes a short line, which it returns without its CRLF. It is good until the
// next read.
func (r *reader) line() ([]byte, error) {
	for {
		b := r.buffered()
		if n := bytes.IndexByte(b, '\n'); n >= 0 && n <= maxChunkLine {
			if n == 0 || b[n-1] != '\r' {
				return nil, &AnswerError{"the line of a chunk does not end in CRLF"}
			}
			r.r += n + 1
			return b[:n-1], nil
		}
		if len(b) > maxChunkLine {
			return nil, &AnswerError{"the line of a chunk is too long"}
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// parseHex reads at most 16 digits, and says how many there were.
func parseHex(b []byte) (n uint64, used int) {
	for used < len(b) && used < 16 {
		c := b[used]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return n, used
		}
		n = n<<4 | uint64(c)
		used++
	}
	return n, used
}

// truncated is the error for a connection that ends before the body does.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func orInvalid(err error, why string) error {
	if err != nil {
		return err
	}
	return &AnswerError{why}
}
