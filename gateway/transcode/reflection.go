package transcode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The services of server reflection, the newer one first.
var reflectionPaths = [...]string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// errUnimplemented says that a server does not have a service.
var errUnimplemented = errors.New("the upstream does not implement it")

// Fields of the messages of server reflection, which are the same in both versions.
const (
	askFile     protowire.Number = 3
	askSymbol   protowire.Number = 4
	askServices protowire.Number = 7

	tellFiles    protowire.Number = 4
	tellServices protowire.Number = 6
	tellError    protowire.Number = 7
)

// maxRounds bounds how often a server is asked for what its files import.
const maxRounds = 32

// Reflect asks an upstream for its descriptors. rt sends requests to it; prepare,
// if not nil, completes each. The whole is bounded by maxDescriptors.
func Reflect(ctx context.Context, rt http.RoundTripper, prepare func(*http.Request) *http.Request) (*Schema, error) {
	var errs []error
	for _, path := range reflectionPaths {
		r := reflector{ctx: ctx, rt: rt, prepare: prepare, path: path, files: map[string]*descriptorpb.FileDescriptorProto{}}
		err := r.all()
		if err == nil {
			return newSchema(r.ordered)
		}
		errs = append(errs, fmt.Errorf("%s: %w", strings.Split(path, "/")[1], err))
		if !errors.Is(err, errUnimplemented) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

type reflector struct {
	ctx     context.Context
	rt      http.RoundTripper
	prepare func(*http.Request) *http.Request
	path    string
	size    int

	files    map[string]*descriptorpb.FileDescriptorProto
	ordered  []*descriptorpb.FileDescriptorProto
	services []string
}

// question is one message to the server.
type question struct {
	field protowire.Number
	text  string
}

func (r *reflector) all() error {
	if err := r.ask([]question{{askServices, ""}}); err != nil {
		return err
	}
	var next []question
	for _, name := range r.services {
		if !strings.HasPrefix(name, "grpc.reflection.") {
			next = append(next, question{askSymbol, name})
		}
	}
	if len(next) == 0 {
		return errors.New("the upstream has no services")
	}
	for range maxRounds {
		if err := r.ask(next); err != nil {
			return err
		}
		if next = r.missing(); len(next) == 0 {
			return nil
		}
	}
	return fmt.Errorf("imports are incomplete after %d questions", maxRounds)
}

// missing are the imports that nobody has told yet and this process does not know.
func (r *reflector) missing() (next []question) {
	asked := map[string]bool{}
	for _, f := range r.ordered {
		for _, name := range f.GetDependency() {
			if r.files[name] == nil && !asked[name] && !strings.HasPrefix(name, "google/protobuf/") {
				asked[name] = true
				next = append(next, question{askFile, name})
			}
		}
	}
	return next
}

// ask asks all questions in one call and takes in the answers.
func (r *reflector) ask(questions []question) error {
	var body []byte
	for _, q := range questions {
		start := len(body)
		body = AppendFrame(body)
		body = protowire.AppendTag(body, q.field, protowire.BytesType)
		body = protowire.AppendString(body, q.text)
		EndFrame(body, start)
	}
	req := &http.Request{
		Method: http.MethodPost, URL: &url.URL{Scheme: "http", Host: "upstream", Path: r.path}, Host: "upstream",
		Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: http.Header{
			"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Accept-Encoding": {"identity"}, "User-Agent": {"pithead"},
		},
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}
	req = req.WithContext(r.ctx)
	if r.prepare != nil {
		req = r.prepare(req)
	}
	res, err := r.rt.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // what is left of it is not wanted
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the upstream answers %d", res.StatusCode)
	}
	if err := r.read(res.Body); err != nil {
		return err
	}
	return r.ended(res)
}

func (r *reflector) read(body io.Reader) error {
	frames := Frames{Max: maxDescriptors}
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if r.size += n; r.size > maxDescriptors {
			return fmt.Errorf("the descriptors are larger than %d bytes", maxDescriptors)
		}
		if bad := frames.Write(buf[:n], r.answer); bad != nil {
			return bad
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ended looks at the status of the call.
func (r *reflector) ended(res *http.Response) error {
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status")
	}
	switch status {
	case "0":
		return nil
	case "12":
		return errUnimplemented
	case "":
		return errors.New("the answer has no grpc-status")
	}
	return fmt.Errorf("grpc-status %s", status)
}

// answer takes in one message of the server.
func (r *reflector) answer(msg []byte) error {
	return eachBytes(msg, func(num protowire.Number, value []byte) error {
		switch num {
		case tellFiles:
			return eachOf(value, 1, r.file)
		case tellServices:
			return eachOf(value, 1, func(service []byte) error {
				return eachOf(service, 1, func(name []byte) error {
					r.services = append(r.services, string(name))
					return nil
				})
			})
		case tellError:
			return eachOf(value, 2, func(text []byte) error { return fmt.Errorf("the upstream says %q", text) })
		}
		return nil
	})
}

func (r *reflector) file(raw []byte) error {
	var f descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(raw, &f); err != nil {
		return fmt.Errorf("no descriptor: %w", err)
	}
	if r.files[f.GetName()] == nil {
		r.files[f.GetName()] = &f
		r.ordered = append(r.ordered, &f)
	}
	if len(r.ordered) > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	return nil
}

// eachBytes calls f with each value that is bytes, and the number of its field.
func eachBytes(msg []byte, f func(num protowire.Number, value []byte) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return ErrFrame
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return ErrFrame
		}
		if typ == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(msg[n:])
			if err := f(num, value); err != nil {
				return err
			}
		}
		msg = msg[n+m:]
	}
	return nil
}

// eachOf calls f with each value of one field.
func eachOf(msg []byte, want protowire.Number, f func([]byte) error) error {
	return eachBytes(msg, func(num protowire.Number, value []byte) error {
		if num != want {
			return nil
		}
		return f(value)
	})
}
