package middleware

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/transcode"
)

func init() {
	kind.Add(Kinds, "grpc_transcode", GRPCTranscodeConfig{
		MaxMessage: 4 * kind.MiB, MaxDepth: 64, Descriptors: GRPCDescriptors{Refresh: 5 * time.Minute},
	}, newGRPCTranscode)
}

// GRPCTranscodeConfig lets REST clients call a gRPC service: it finds the method
// of a request by an OpenAPI document or by google.api.http annotations, turns
// path, query, headers and JSON into the message, and the answer back.
//
//	grpc_transcode: {openapi: orders.openapi.yaml, descriptors: {protos: [orders.proto]}}
//
// An operation of the document says its method as `x-grpc-method:
// package.Service/Method`, or by an operationId of the form `Service_Method`,
// `Service.Method` or `package.Service.Method`; the annotation with the same
// method and path is the last to be asked. Operations that none of these bind are
// not there for clients (404). Parameters fill the field of their name, dots
// lead into messages, and `x-grpc-field` gives another name. A request body is
// the whole message, or the field in `x-grpc-body`; an answer is the whole
// message, or the field in `x-grpc-response-body`.
//
// What the document asks for under `security` is not checked by this block: it only
// refuses callers without an identity, and so needs a block before it that proves one.
//
// Streams of the service are lines of JSON (application/x-ndjson), server-sent
// events or one JSON array, as `Accept` says; streams of clients are lines of JSON;
// calls that stream both ways take a WebSocket too. gRPC calls pass as they are.
// The upstream must speak HTTP/2.
type GRPCTranscodeConfig struct {
	// OpenAPI is the document, version 3.0 or 3.1, as YAML or JSON. A change of it, or
	// of what it refers to, is taken over. Default: none; annotations bind.
	OpenAPI kind.Path `yaml:"openapi"`
	// Descriptors tell the messages and methods of the service. Required.
	Descriptors GRPCDescriptors `yaml:"descriptors"`
	// BasePath stands before the paths of the operations. It is matched after
	// a `rewrite` that stands before this block. Default: the path of the document's
	// first server.
	BasePath *string `yaml:"base_path"`
	// MaxMessage is the largest message, in either direction, as JSON or not. Requests
	// of one message are kept in memory up to this size, so that they can be sent
	// again. At most 256MiB. Default: 4MiB.
	MaxMessage kind.Size `yaml:"max_message"`
	// MaxDepth is how deep JSON may be nested, 1 to 1000. Default: 64.
	MaxDepth int `yaml:"max_depth"`
	// DiscardUnknown ignores members of a body and parameters of a query that the
	// service does not know, instead of refusing them. Default: false.
	DiscardUnknown bool `yaml:"discard_unknown"`
	// EmitDefaults writes fields that have no value too. Default: false.
	EmitDefaults bool `yaml:"emit_defaults"`
	// ProtoNames writes `order_id` where JSON's usual name is `orderId`. Both are
	// understood. Default: false.
	ProtoNames bool `yaml:"proto_names"`
	// EnumNumbers writes enums as numbers. Default: false.
	EnumNumbers bool `yaml:"enum_numbers"`
	// Metadata are those with the prefix `Grpc-Metadata-`.
	Metadata GRPCMetadata `yaml:"metadata"`
	// Headers are those that go on under their own names.
	Headers GRPCHeaders `yaml:"headers"`
	// Subject is the metadata that tells the service who the caller is; clients cannot
	// set it. Default: none.
	Subject string `yaml:"subject"`
	// Origins are the hosts whose pages may open a WebSocket, such as
	// `*.example.com`. Default: only the host of the request.
	Origins []string `yaml:"origins"`
}

// GRPCDescriptors are where the descriptors of a service come from. Exactly one
// of `file`, `protos` and `reflection` is given.
type GRPCDescriptors struct {
	// File is a FileDescriptorSet with all imports, as `protoc --include_imports
	// --descriptor_set_out=FILE` or `buf build -o FILE` write it.
	File kind.Path `yaml:"file"`
	// Protos are .proto files, which the gateway compiles itself.
	Protos []kind.Path `yaml:"protos"`
	// ImportPaths are the folders that imports start at; each of `protos` is in one of
	// them. Google's well-known types and annotations need none. Default: the folders
	// of `protos`.
	ImportPaths []kind.Path `yaml:"import_paths"`
	// Reflection asks the upstream itself by server reflection, again when its
	// endpoints change. Until it has answered, requests get a 503; later the last
	// answer stays in use while there is no new one. Default: false.
	Reflection bool `yaml:"reflection"`
	// Refresh is how often reflection is asked again when no endpoint changes, at
	// least 1s. Default: 5m.
	Refresh time.Duration `yaml:"refresh"`
}

// GRPCMetadata say which metadata pass under the prefix `Grpc-Metadata-`, by their
// names without it. Names that end in -bin hold base64.
type GRPCMetadata struct {
	// Request lists metadata that clients may send. Do not list names that
	// a block sets for the service to believe. Default: none.
	Request []string `yaml:"request"`
	// Response lists metadata of the service that clients get. Those that come
	// at the end of an answer have the prefix `Grpc-Trailer-`. Default: all.
	Response []string `yaml:"response"`
}

// GRPCHeaders are lists of HTTP headers that are metadata under the same name.
type GRPCHeaders struct {
	// Request lists headers of the client that the service gets. Default: all that
	// any route sends on, except those that describe the body.
	Request []string `yaml:"request"`
	// Response lists metadata of the service that become headers without a prefix, such
	// as etag or cache-control. Default: none.
	Response []string `yaml:"response"`
}

const maxTranscodedMessage = 256 * kind.MiB

// Validate checks what needs no file.
func (c GRPCTranscodeConfig) Validate() error {
	var errs []error
	if c.MaxMessage < 1 || c.MaxMessage > maxTranscodedMessage {
		errs = append(errs, kind.At("max_message", "%s is not from 1B to %s", c.MaxMessage, maxTranscodedMessage))
	}
	if c.MaxDepth < 1 || c.MaxDepth > 1000 {
		errs = append(errs, kind.At("max_depth", "%d is not from 1 to 1000", c.MaxDepth))
	}
	if c.BasePath != nil && *c.BasePath != "" && !strings.HasPrefix(*c.BasePath, "/") {
		errs = append(errs, kind.At("base_path", "%q does not begin with a slash", *c.BasePath))
	}
	for at, names := range map[string][]string{
		"metadata.request": c.Metadata.Request, "metadata.response": c.Metadata.Response,
		"headers.request": c.Headers.Request, "headers.response": c.Headers.Response,
	} {
		for i, name := range names {
			switch at := fmt.Sprintf("%s[%d]", at, i); {
			case !grammar.IsToken(name):
				errs = append(errs, kind.At(at, "%q is no name of a header; list each name by itself", name))
			case at[0] == 'm' && transcode.Reserved(http.CanonicalHeaderKey(name)):
				errs = append(errs, kind.At(at, "%s belongs to HTTP or gRPC itself and is no metadata", name))
			}
		}
	}
	if c.Subject != "" && (!grammar.IsToken(c.Subject) || transcode.Reserved(http.CanonicalHeaderKey(c.Subject))) {
		errs = append(errs, kind.At("subject", "%q is no name of metadata", c.Subject))
	}
	for i, origin := range c.Origins {
		if _, err := path.Match(origin, ""); err != nil || origin == "" || strings.Contains(origin, "/") {
			errs = append(errs, kind.At(fmt.Sprintf("origins[%d]", i), "%q is no host; write for example *.example.com", origin))
		}
	}
	return errors.Join(errs...)
}

// Validate checks that there is one source.
func (d GRPCDescriptors) Validate() error {
	sources := 0
	for _, given := range []bool{d.File != "", len(d.Protos) > 0, d.Reflection} {
		if given {
			sources++
		}
	}
	switch {
	case sources == 0:
		return kind.At("", "are needed; give file, protos or reflection: true")
	case sources > 1:
		return kind.At("", "file, protos and reflection exclude each other")
	case len(d.ImportPaths) > 0 && len(d.Protos) == 0:
		return kind.At("import_paths", "are for protos")
	case d.Refresh < time.Second:
		return kind.At("refresh", "%s is too often; at least 1s", d.Refresh)
	}
	return nil
}

// Files implements kind.Filer: whatever was read to build the block, imports and
// references included. Of what cannot be read, it is what the settings name.
func (c GRPCTranscodeConfig) Files() []string {
	files := c.Descriptors.files()
	if c.OpenAPI != "" {
		files = append(files, string(c.OpenAPI))
		if doc, err := transcode.ReadDocument(string(c.OpenAPI)); err == nil {
			files = append(files, doc.Files...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// files is what was read for the descriptors, imports included.
func (d *GRPCDescriptors) files() []string {
	files := filesOf(d.File)
	if len(d.Protos) > 0 {
		_, read, _ := d.compile() // a mistake is told when the block is built
		files = append(files, read...)
	}
	return files
}

// SetDefaults sets the value that the comment of the field names.
func (d *GRPCDescriptors) SetDefaults() { d.Refresh = 5 * time.Minute }

// read reads descriptors from files. at is the setting that an error is about.
func (d *GRPCDescriptors) read() (schema *transcode.Schema, at string, err error) {
	if d.File != "" {
		schema, err = transcode.ReadSet(string(d.File))
		return schema, "descriptors.file", err
	}
	schema, _, err = d.compile()
	return schema, "descriptors.protos", err
}

// headerSet is a set of canonical header names; nil for a nil list.
func headerSet(list []string, more ...string) map[string]bool {
	if list == nil {
		return nil
	}
	set := make(map[string]bool, len(list)+len(more))
	for _, name := range append(more, list...) {
		set[http.CanonicalHeaderKey(name)] = true
	}
	return set
}

// compile compiles the .proto files and tells which files that took.
func (d *GRPCDescriptors) compile() (*transcode.Schema, []string, error) {
	files, read := texts(d.Protos), texts(d.Protos)
	var mu sync.Mutex // the compiler opens several files at a time
	s, err := transcode.CompileProtos(context.Background(), files, texts(d.ImportPaths), func(path string) {
		mu.Lock()
		defer mu.Unlock()
		read = append(read, path)
	})
	return s, read, err
}

func texts(paths []kind.Path) []string {
	all := make([]string, len(paths))
	for i, p := range paths {
		all[i] = string(p)
	}
	return all
}
