package middleware

import (
	"cmp"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway/transcode"
)

// streamForm is how the messages of a stream stand in the body of an answer.
type streamForm uint8

const (
	formLines streamForm = iota // application/x-ndjson
	formEvents
	formArray
	formRaw // the data of google.api.HttpBody
)

var streamTypes = [...]string{"application/x-ndjson", "text/event-stream", "application/json", "application/octet-stream"}

// formOf is the form that a client prefers.
func formOf(call *transcode.Call, accept []string) streamForm {
	if call.RawAnswers() {
		return formRaw
	}
	best, bestQuality := formLines, 0
	for _, line := range accept {
		for element := range strings.SplitSeq(line, ",") {
			media, params, err := mime.ParseMediaType(element)
			if err != nil {
				continue
			}
			quality := 1000
			if q, weighted := params["q"]; weighted {
				if f, err := strconv.ParseFloat(q, 64); err == nil {
					quality = int(f * 1000)
				}
			}
			form := formLines
			switch media {
			case "text/event-stream":
				form = formEvents
			case "application/json":
				form = formArray
			case "application/x-ndjson", "application/ndjson", "application/jsonl", "*/*", "application/*":
			default:
				continue
			}
			if quality > bestQuality {
				best, bestQuality = form, quality
			}
		}
	}
	return best
}

// streamSink writes a stream into the body of an answer. Nothing is kept: a client
// that reads slowly makes the service write slowly.
type streamSink struct {
	c     *grpcCall
	form  streamForm
	begun bool
	sent  int
	buf   []byte
}

func (s *streamSink) begin() error {
	if !s.begun {
		s.head(streamTypes[s.form])
	}
	return nil
}

func (s *streamSink) head(contentType string) {
	s.begun = true
	h := s.c.client.Header()
	s.c.copyHead(h)
	s.c.closeUnread(h)
	h["Content-Type"] = []string{contentType}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if s.form == formEvents {
		h["Cache-Control"] = []string{"no-store"}
	}
	s.c.client.WriteHeader(http.StatusOK)
	_ = s.flush() // the next write finds out that the client has gone
}

func (s *streamSink) send(message []byte, contentType string) error {
	if !s.begun {
		s.head(cmp.Or(contentType, streamTypes[s.form]))
	}
	b := s.buf[:0]
	switch s.form {
	case formLines:
		b = append(append(b, message...), '\n')
	case formEvents:
		b = append(append(append(b, "data: "...), message...), "\n\n"...)
	case formArray:
		b = append(append(b, s.before()), message...)
	case formRaw:
		b = append(b, message...)
	}
	s.buf = b
	s.sent++
	_, err := s.c.client.Write(b)
	return err
}

// before is what stands before an element of the array.
func (s *streamSink) before() byte {
	if s.sent == 0 {
		return '['
	}
	return ','
}

func (s *streamSink) flush() error {
	if !s.begun {
		return nil
	}
	return http.NewResponseController(s.c.client).Flush()
}

// end writes the last line. After an error the answer is broken off, so that
// nobody takes it for a whole one.
func (s *streamSink) end(st *transcode.Status, trailers http.Header) {
	if st.Code == transcode.OK {
		if s.form == formArray {
			tail := "]"
			if s.sent == 0 {
				tail = "[]"
			}
			_, _ = s.c.client.Write([]byte(tail)) // a client that left is noticed by the server
		}
		if strings.Contains(strings.Join(s.c.in.Header["Te"], ","), "trailers") {
			transcode.AnswerHeader(s.c.client.Header(), trailers, http.TrailerPrefix+transcode.TrailerPrefix, s.c.m.responseMetadata, nil)
		}
		return
	}
	problem := st.AppendProblem(nil, s.c.x.ID)
	var b []byte
	switch s.form {
	case formLines:
		b = append(append(append(b, `{"error":`...), problem...), "}\n"...)
	case formEvents:
		b = append(append(append(b, "event: error\ndata: "...), problem...), "\n\n"...)
	case formArray:
		b = append(append(append(append(b, s.before()), `{"error":`...), problem...), '}')
	case formRaw: // data have no place for it
	}
	if len(b) > 0 {
		_, _ = s.c.client.Write(b)
		_ = s.flush()
	}
	panic(http.ErrAbortHandler)
}
