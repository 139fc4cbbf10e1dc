package middleware

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/grpcweb"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/transcode"
)

func init() {
	kind.Add(Kinds, "connect_rpc", ConnectRPCConfig{MaxMessage: 4 * kind.MiB, MaxDepth: 64}, newConnectRPC)
}

// ConnectRPCConfig lets clients of the Connect protocol call a gRPC service:
// single messages by POST and GET, and streams. Everything else passes as it is.
//
//	connect_rpc: {descriptors: {protos: [orders.proto]}}
//
// Messages in protobuf pass as they are, in whatever way they are compressed. JSON
// needs descriptors; without them it is answered with a 415. With them,
// application/json is taken for Connect if it says so by Connect-Protocol-Version or
// if the path is that of a method, so that a `grpc_transcode` behind this block has
// its share. Compressed JSON is gzip.
//
// What follows in the chain sees a gRPC call. Errors of the blocks before are HTTP
// answers, which clients understand too. Pages of other origins need a `cors` block
// before this one, which allows the headers content-type, connect-protocol-version
// and connect-timeout-ms. `timeout` of the route holds for calls of one message and
// until the answer of a stream begins; `body_limit` holds for the whole of what
// a client sends. The upstream must speak HTTP/2.
type ConnectRPCConfig struct {
	// Descriptors tell the messages of the service, for JSON. Default: none.
	Descriptors *GRPCDescriptors `yaml:"descriptors"`
	// Get lists methods that a GET may call, as `package.Service/Method`, beside those
	// that the descriptors declare to be without side effects (idempotency_level =
	// NO_SIDE_EFFECTS). Pages of any origin can make a browser send a GET. Default: none.
	Get []string `yaml:"get"`
	// MaxMessage is the largest message, in either direction, as it is sent and
	// unpacked. Messages that are not part of a stream, or are JSON, are kept in
	// memory. At most 256MiB. Default: 4MiB.
	MaxMessage kind.Size `yaml:"max_message"`
	// MaxDepth is how deep JSON may be nested, 1 to 1000. Default: 64.
	MaxDepth int `yaml:"max_depth"`
	// DiscardUnknown ignores members of JSON that the descriptors do not know, instead
	// of refusing them. Default: false.
	DiscardUnknown bool `yaml:"discard_unknown"`
}

// Validate checks what needs no file.
func (c ConnectRPCConfig) Validate() error {
	errs := []error{checkMaxMessage(c.MaxMessage)}
	if c.MaxDepth < 1 || c.MaxDepth > 1000 {
		errs = append(errs, kind.At("max_depth", "%d is not from 1 to 1000", c.MaxDepth))
	}
	for i, name := range c.Get {
		if service, method, ok := strings.Cut(name, "/"); !ok || service == "" || method == "" || strings.Contains(method, "/") {
			errs = append(errs, kind.At(fmt.Sprintf("get[%d]", i), "%q is no method; write package.Service/Method", name))
		}
	}
	return errors.Join(errs...)
}

// Files implements kind.Filer.
func (c ConnectRPCConfig) Files() []string {
	if c.Descriptors == nil {
		return nil
	}
	return c.Descriptors.files()
}

// connectRPC is the running middleware. It never changes after newConnectRPC.
type connectRPC struct {
	max    int
	get    []string // paths
	codecs *rpcCodecs
}

func newConnectRPC(c ConnectRPCConfig, env Env) (gateway.Step, error) {
	if err := speaksHTTP2(env.To); err != nil {
		return gateway.Step{}, err
	}
	m := &connectRPC{max: int(c.MaxMessage)}
	for _, name := range c.Get {
		m.get = append(m.get, "/"+name)
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain}
	if c.Descriptors == nil {
		return step, nil
	}
	m.codecs = &rpcCodecs{log: env.Log, opts: transcode.Options{MaxDepth: c.MaxDepth, DiscardUnknown: c.DiscardUnknown}}
	return step, m.codecs.open(c.Descriptors, env, &step)
}

// connectCall is what the head of a request says of its call.
type connectCall struct {
	m      *connectRPC
	stream bool
	codec  string // proto or json
	coding string // of its message or messages; "" is none
	limit  time.Duration
	get    *grpcweb.Get     // nil for a POST
	json   *transcode.Codec // nil for proto
}

func (m *connectRPC) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &connectCall{m: m}
		if !c.recognise(r) {
			next.ServeHTTP(w, r)
			return
		}
		c.serve(w, r, next)
	})
}

const (
	unaryType   = "application/"
	streamType  = "application/connect+"
	versionName = "Connect-Protocol-Version"
)

// recognise says whether r is a call of the protocol, and if so of which form.
func (c *connectCall) recognise(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet:
		return grpcweb.IsGet(r.URL.RawQuery)
	case http.MethodOptions:
		return false
	}
	ct, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	ct = strings.ToLower(strings.TrimSpace(ct))
	if c.codec, c.stream = strings.CutPrefix(ct, streamType); c.stream {
		return true
	}
	c.codec, _ = strings.CutPrefix(ct, unaryType)
	switch c.codec {
	case "proto":
		return true
	case "json":
		return r.Method == http.MethodPost && (r.Header[versionName] != nil || !c.m.codecs.lacks(r.URL.Path))
	}
	return false
}

// read reads the rest of the head. The error is for the client.
func (c *connectCall) read(r *http.Request) error {
	coding := "Content-Encoding"
	if c.stream {
		coding = "Connect-Content-Encoding"
		if err := refuseCoding(r); err != nil {
			return err
		}
	}
	c.coding = r.Header.Get(coding)
	switch v := r.Header.Get(versionName); {
	case r.Method == http.MethodGet:
		if err := c.readGet(r); err != nil {
			return err
		}
	case r.Method != http.MethodPost:
		return wrongMethod("calls are sent by POST")
	case v != "" && v != "1":
		return badCall("connect-protocol-version is not 1")
	}
	if c.coding = strings.ToLower(c.coding); c.coding == "identity" {
		c.coding = ""
	}
	if c.coding != "" && !grammar.IsToken(c.coding) {
		return badCall("malformed name of a compression")
	}
	if text := r.Header.Get("Connect-Timeout-Ms"); text != "" {
		ms, err := strconv.ParseUint(text, 10, 64)
		if err != nil || len(text) > 10 {
			return badCall("malformed connect-timeout-ms")
		}
		c.limit = max(time.Duration(ms)*time.Millisecond, 1)
	}
	return c.readCodec(r)
}

func (c *connectCall) readGet(r *http.Request) error {
	g, err := grpcweb.ParseGet(r.URL.RawQuery)
	if err != nil {
		return badCall(err.Error())
	}
	c.get, c.codec, c.coding = g, g.Encoding, g.Compression
	codec, _ := c.m.codecs.of(r.URL.Path) // reads JSON only if there is one
	if !slices.Contains(c.m.get, r.URL.Path) && (codec == nil || !codec.Safe) {
		return wrongMethod("this method is not declared to be without side effects; use POST")
	}
	return nil
}

func wrongMethod(msg string) error {
	return &gateway.Error{
		Status: http.StatusMethodNotAllowed, Reason: "connect_verb", Msg: msg, Cause: gateway.CauseClient, Allow: http.MethodPost, GRPC: int(transcode.Unknown),
	}
}

// readCodec finds what turns the messages of the call into protobuf.
func (c *connectCall) readCodec(r *http.Request) error {
	unsupported := func(msg string) error {
		return &gateway.Error{
			Status: http.StatusUnsupportedMediaType, Reason: "connect_codec", Msg: msg, Cause: gateway.CauseClient, GRPC: int(transcode.Unimplemented),
		}
	}
	switch {
	case c.codec == "proto":
		return nil
	case c.codec != "json":
		return unsupported("messages are application/proto or application/json")
	case c.m.codecs == nil:
		return unsupported("JSON needs descriptors, which this gateway has not been given; send application/proto")
	}
	codec, err := c.m.codecs.of(r.URL.Path)
	switch {
	case err != nil:
		return err
	case codec == nil:
		return &gateway.Error{
			Status: http.StatusNotFound, Reason: "connect_method", Msg: "there is no such method", Cause: gateway.CauseClient, GRPC: int(transcode.Unimplemented),
		}
	case c.coding != "" && c.coding != "gzip":
		return &gateway.Error{
			Status: http.StatusNotImplemented, Reason: "connect_compression", Msg: "JSON is compressed with gzip or not at all",
			Cause: gateway.CauseClient, GRPC: int(transcode.Unimplemented),
		}
	}
	c.json = codec
	return nil
}

func (c *connectCall) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	err := c.read(r)
	a := &grpcAnswer{x: gateway.ExchangeOf(r), client: w, cancel: cancel, limit: c.limit, body: &grpcBody{}}
	a.scan.Max = c.m.max
	a.out = outboundCall(ctx, r, c.header(r), "proto")
	if c.stream {
		a.form = &connectStream{client: w, codec: cmp.Or(c.codec, "proto"), json: c.json, max: c.m.max}
	} else {
		a.form = &connectUnary{codec: cmp.Or(c.codec, "proto"), json: c.json, max: c.m.max}
		a.x.OnStream(nil) // it is gRPC, but with a foreseeable end
	}
	if err == nil && c.stream {
		err = c.streamBody(a, w, r)
	} else if err == nil {
		err = c.unaryBody(a, r)
	}
	if err != nil {
		next = failing(err)
	}
	serveCall(a, next)
}

// header is that of the call: the client's, less what belongs to its protocol or
// to gRPC itself.
func (c *connectCall) header(r *http.Request) http.Header {
	h := make(http.Header, len(r.Header)+4)
	for name, values := range r.Header {
		if !strings.HasPrefix(name, "Connect-") && !strings.HasPrefix(name, "Grpc-") {
			h[name] = values
		}
	}
	accept := r.Header["Accept-Encoding"]
	if c.stream {
		accept = r.Header["Connect-Accept-Encoding"]
	}
	if c.json != nil {
		accept = []string{"gzip"} // is for us to unpack
	}
	if list := codings(accept); list != "" {
		h["Grpc-Accept-Encoding"] = []string{list}
	}
	if c.limit > 0 {
		h["Grpc-Timeout"] = []string{transcode.FormatTimeout(c.limit)}
	}
	if c.coding != "" {
		h["Grpc-Encoding"] = []string{c.coding}
		if c.json != nil {
			h["Grpc-Encoding"] = []string{"identity"}
		}
	}
	return h
}

// codings writes an Accept-Encoding as gRPC has it, a list of names.
func codings(accept []string) string {
	var names []string
	for _, line := range accept {
		for part := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(part, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			q, weighed := strings.CutPrefix(strings.TrimSpace(params), "q=")
			if weight, err := strconv.ParseFloat(q, 64); weighed && err == nil && weight == 0 {
				continue
			}
			if grammar.IsToken(name) && name != "*" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ",")
}

func (m *connectRPC) explain(r *http.Request, x *gateway.Exchange) string {
	c := &connectCall{m: m}
	if !c.recognise(r) {
		return "is no Connect call, and passes as it is"
	}
	if e, ok := errors.AsType[*gateway.Error](c.read(r)); ok {
		x.Status = e.Status
		return e.Msg
	}
	what := "a single message"
	if c.stream {
		what = "streams"
	}
	return fmt.Sprintf("turns Connect into gRPC: %s in %s", what, c.codec)
}
