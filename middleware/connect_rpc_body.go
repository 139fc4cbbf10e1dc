package middleware

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/transcode"
)

// unaryBody makes a frame of the one message of a call, which is whole before the
// call begins, so that it can be sent again.
func (c *connectCall) unaryBody(a *grpcAnswer, r *http.Request) error {
	var message []byte
	var err error
	if c.get != nil {
		message = c.get.Message
	} else if message, err = c.readWhole(a, r); err != nil {
		return err
	}
	if len(message) > c.m.max {
		return frameError(grpcweb.ErrTooLarge)
	}
	frame := make([]byte, 0, grpcweb.HeadLen+len(message))
	switch {
	case c.json != nil:
		if c.coding != "" && len(message) > 0 {
			if message, err = unpack(message, c.m.max); err != nil {
				return err
			}
		}
		if frame, err = appendJSONFrame(frame, c.json, message, c.m.max); err != nil {
			return err
		}
	case c.coding != "" && len(message) > 0: // nothing is not compressed
		frame = append(grpcweb.AppendHead(frame, grpcweb.FlagCompressed, len(message)), message...)
	default:
		frame = append(grpcweb.AppendHead(frame, 0, len(message)), message...)
	}
	a.out.Body, a.out.ContentLength = io.NopCloser(bytes.NewReader(frame)), int64(len(frame))
	return nil
}

func (c *connectCall) readWhole(a *grpcAnswer, r *http.Request) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	if r.ContentLength > int64(c.m.max) {
		return nil, frameError(grpcweb.ErrTooLarge)
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= smallBody {
		buf.Grow(int(n) + bytes.MinRead) // room for the read that finds the end
	}
	if _, err := buf.ReadFrom(io.LimitReader(r.Body, int64(c.m.max)+1)); err != nil {
		return nil, clientBodyError(a.x, err)
	}
	return buf.Bytes(), nil
}

// unpack unpacks gzip, up to a limit.
func unpack(packed []byte, limit int) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, badCall("the message is not what gzip makes")
	}
	plain, err := io.ReadAll(io.LimitReader(z, int64(limit)+1))
	switch {
	case err != nil:
		return nil, badCall("the message is not what gzip makes")
	case len(plain) > limit:
		return nil, frameError(grpcweb.ErrTooLarge)
	}
	return plain, nil
}

// appendJSONFrame appends a frame with the message that is written in JSON.
func appendJSONFrame(dst []byte, codec *transcode.Codec, message []byte, limit int) ([]byte, error) {
	start := len(dst)
	dst, err := codec.AppendWire(grpcweb.AppendHead(dst, 0, 0), message)
	if err != nil {
		return dst, err
	}
	n := len(dst) - start - grpcweb.HeadLen
	if n > limit {
		return dst, frameError(grpcweb.ErrTooLarge)
	}
	grpcweb.AppendHead(dst[start:start], 0, n)
	return dst, nil
}

// streamBody makes the client's envelopes the frames of the call. Those of
// protobuf are the same.
func (c *connectCall) streamBody(a *grpcAnswer, w http.ResponseWriter, r *http.Request) error {
	body, err := newGRPCBody(w, r)
	if err != nil {
		return err
	}
	a.body, a.out.Body, a.out.ContentLength = body, body, -1
	if c.json != nil {
		body.frames = &jsonFrames{in: body.src, codec: c.json, packed: c.coding != "", max: c.m.max}
		return nil
	}
	body.frames = &scanReader{in: body.src, scan: grpcweb.Scanner{Max: c.m.max, Compressed: c.coding != ""}}
	a.out.ContentLength = r.ContentLength
	return nil
}

// jsonFrames reads envelopes with JSON and gives frames, one at a time: what the
// service does not take is not read.
type jsonFrames struct {
	in     io.Reader
	codec  *transcode.Codec
	packed bool // messages may be compressed
	max    int

	message bytes.Buffer
	frame   []byte
	rest    []byte // of frame
}

// Read implements io.Reader.
func (j *jsonFrames) Read(p []byte) (int, error) {
	if len(j.rest) == 0 {
		if err := j.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, j.rest)
	j.rest = j.rest[n:]
	return n, nil
}

func (j *jsonFrames) next() error {
	var head [grpcweb.HeadLen]byte
	if _, err := io.ReadFull(j.in, head[:]); err != nil {
		return truncated(err) // or the end
	}
	scan := grpcweb.Scanner{Max: j.max, Compressed: j.packed}
	if err := scan.Scan(head[:]); err != nil {
		return frameError(err)
	}
	j.message.Reset()
	if _, err := io.CopyN(&j.message, j.in, int64(scan.Left())); errors.Is(err, io.EOF) {
		return frameError(grpcweb.ErrTruncated)
	} else if err != nil {
		return err
	}
	message, err := j.message.Bytes(), error(nil)
	if head[0]&grpcweb.FlagCompressed != 0 {
		if message, err = unpack(message, j.max); err != nil {
			return err
		}
	}
	j.frame, err = appendJSONFrame(j.frame[:0], j.codec, message, j.max)
	j.rest = j.frame
	return err
}

func truncated(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return frameError(grpcweb.ErrTruncated)
	}
	return err
}

// rpcCodecs are the codecs of a service: one set for ever, or one for each answer
// of a reflection. A nil one has none.
type rpcCodecs struct {
	opts    transcode.Options
	reflect *reflection // nil for descriptors from files
	log     *slog.Logger

	now   atomic.Pointer[codecSet]
	build sync.Mutex // one request compiles anew, all others wait for it
}

type codecSet struct {
	schema *transcode.Schema
	byPath map[string]*transcode.Codec
}

// open reads descriptors from files, or has the step ask for them.
func (s *rpcCodecs) open(d *GRPCDescriptors, env Env, step *gateway.Step) error {
	if d.Reflection {
		reflected, err := keptReflection(env, d.Refresh)
		if err != nil {
			return kind.At("descriptors", "%w", err)
		}
		s.reflect = reflected
		step.Start = func() []<-chan struct{} { return reflected.start(env.To) }
		return nil
	}
	schema, at, err := d.read()
	if err != nil {
		return kind.At(at, "%w", err)
	}
	byPath, err := transcode.Codecs(schema, s.opts)
	if err != nil {
		return kind.At(at, "%w", err)
	}
	s.now.Store(&codecSet{schema, byPath})
	return nil
}

// of is the codec of a method; nil when there is none.
func (s *rpcCodecs) of(path string) (*transcode.Codec, error) {
	if s == nil {
		return nil, nil
	}
	set := s.now.Load()
	if s.reflect != nil {
		schema := s.reflect.schema.Load()
		if schema == nil {
			return nil, &gateway.Error{
				Status: http.StatusServiceUnavailable, Reason: "grpc_descriptors", Msg: "the service has not described itself yet",
				Cause: gateway.CauseUpstream, Err: errNotReflected, RetryAfter: time.Second,
			}
		}
		if set == nil || set.schema != schema {
			set = s.compile(schema)
		}
	}
	return set.byPath[path], nil
}

// compile makes the codecs of a new schema. When that fails those before stay.
func (s *rpcCodecs) compile(schema *transcode.Schema) *codecSet {
	s.build.Lock()
	defer s.build.Unlock()
	set := s.now.Load()
	if set != nil && set.schema == schema {
		return set
	}
	byPath, err := transcode.Codecs(schema, s.opts)
	if err != nil {
		s.log.Error("the descriptors of the upstream cannot be used", "error", err)
		if set != nil {
			byPath = set.byPath
		}
	}
	set = &codecSet{schema, byPath}
	s.now.Store(set)
	return set
}

// lacks says that there are descriptors, and that they have no such method.
func (s *rpcCodecs) lacks(path string) bool {
	if s == nil {
		return false
	}
	codec, err := s.of(path)
	return err == nil && codec == nil
}
