package transcode

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
)

// Code is a status of gRPC.
type Code uint32

// The codes that the gateway itself has a use for.
const (
	OK                Code = 0
	Unknown           Code = 2
	DeadlineExceeded  Code = 4
	ResourceExhausted Code = 8
	Unimplemented     Code = 12
	Internal          Code = 13
	Unavailable       Code = 14
)

var codes = [...]struct {
	name string
	http int
}{
	{"OK", http.StatusOK},
	{"CANCELLED", 499},
	{"UNKNOWN", http.StatusInternalServerError},
	{"INVALID_ARGUMENT", http.StatusBadRequest},
	{"DEADLINE_EXCEEDED", http.StatusGatewayTimeout},
	{"NOT_FOUND", http.StatusNotFound},
	{"ALREADY_EXISTS", http.StatusConflict},
	{"PERMISSION_DENIED", http.StatusForbidden},
	{"RESOURCE_EXHAUSTED", http.StatusTooManyRequests},
	{"FAILED_PRECONDITION", http.StatusBadRequest},
	{"ABORTED", http.StatusConflict},
	{"OUT_OF_RANGE", http.StatusBadRequest},
	{"UNIMPLEMENTED", http.StatusNotImplemented},
	{"INTERNAL", http.StatusInternalServerError},
	{"UNAVAILABLE", http.StatusServiceUnavailable},
	{"DATA_LOSS", http.StatusInternalServerError},
	{"UNAUTHENTICATED", http.StatusUnauthorized},
}

// String is the name in capitals.
func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c].name
	}
	return "UNKNOWN"
}

// HTTP is the status of google.rpc.Code's table; 500 for codes that there are not.
func (c Code) HTTP() int {
	if int(c) < len(codes) {
		return codes[c].http
	}
	return http.StatusInternalServerError
}

// CodeOf is the code of an HTTP status that the gateway gives by itself.
func CodeOf(status int) Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnsupportedMediaType:
		return 3
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 5
	case http.StatusConflict:
		return 10
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge:
		return ResourceExhausted
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return 12
	case 499:
		return 1
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return DeadlineExceeded
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return Unavailable
	}
	return Unknown
}

// Status is how a call ended.
type Status struct {
	Code    Code
	Message string
	// Details are those of grpc-status-details-bin, each as JSON with its @type.
	Details []json.RawMessage
	// RetryAfter is what a RetryInfo among the details asks for.
	RetryAfter time.Duration
}

// maxDetails bounds the details of a status in bytes.
const maxDetails = 64 << 10

// ReadStatus reads the status from trailers, or from the head of an answer that is
// nothing but a head. found is false without a grpc-status, and ok when it is no
// number.
func (s *Schema) ReadStatus(h http.Header) (st Status, found, ok bool) {
	values := h["Grpc-Status"]
	if len(values) == 0 {
		return st, false, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(values[0]), 10, 32)
	if err != nil {
		return st, true, false
	}
	st.Code, st.Message = Code(n), UnescapeMessage(h.Get("Grpc-Message"))
	if st.Code != OK {
		s.readDetails(&st, h.Get("Grpc-Status-Details-Bin"))
	}
	return st, true, true
}

// UnescapeMessage decodes the percent-encoding of grpc-message. What is malformed
// stays as it is, as the protocol wants it; what is not UTF-8 becomes a replacement.
func UnescapeMessage(s string) string {
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
					b = append(b, byte(n))
					i += 2
					continue
				}
			}
			b = append(b, s[i])
		}
		s = string(b)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func (s *Schema) readDetails(st *Status, text string) {
	raw, err := decodeBin(text)
	if err != nil || text == "" || len(raw) > maxDetails {
		return
	}
	var full spb.Status
	if proto.Unmarshal(raw, &full) != nil || Code(full.GetCode()) != st.Code {
		return // it tells of another status, and nobody knows which one holds
	}
	if full.GetMessage() != "" {
		st.Message = strings.ToValidUTF8(full.GetMessage(), "\uFFFD")
	}
	for _, d := range full.GetDetails() {
		st.Details = append(st.Details, s.detail(d))
		var info errdetails.RetryInfo
		if d.MessageIs(&info) && d.UnmarshalTo(&info) == nil && info.GetRetryDelay().IsValid() {
			st.RetryAfter = info.GetRetryDelay().AsDuration()
		}
	}
}

// detail is one detail as JSON. Of a type that nobody knows, it is the bytes.
func (s *Schema) detail(d *anypb.Any) json.RawMessage {
	o := protojson.MarshalOptions{Resolver: everyType{s}}
	if b, err := o.Marshal(d); err == nil {
		var compact json.RawMessage
		if compact, err = json.Marshal(json.RawMessage(b)); err == nil { // protojson varies its spaces on purpose
			return compact
		}
	}
	b, _ := json.Marshal(map[string]string{"@type": d.GetTypeUrl(), "value": base64.StdEncoding.EncodeToString(d.GetValue())}) // strings: cannot fail
	return b
}

// everyType looks in the schema first, then among the types of this process.
type everyType struct{ s *Schema }

// FindMessageByName implements protoregistry.MessageTypeResolver.
func (t everyType) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if mt, err := t.s.Types.FindMessageByName(name); err == nil {
		return mt, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

// FindMessageByURL implements protoregistry.MessageTypeResolver.
func (t everyType) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[strings.LastIndexByte(url, '/')+1:]))
}

// FindExtensionByName implements protoregistry.ExtensionTypeResolver.
func (t everyType) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return t.s.Types.FindExtensionByName(name)
}

// FindExtensionByNumber implements protoregistry.ExtensionTypeResolver.
func (t everyType) FindExtensionByNumber(message protoreflect.FullName, n protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return t.s.Types.FindExtensionByNumber(message, n)
}

// statusDocument is an RFC 9457 problem with what gRPC adds.
type statusDocument struct {
	Type    string            `json:"type"`
	Title   string            `json:"title"`
	Status  int               `json:"status"`
	Detail  string            `json:"detail,omitempty"`
	Code    string            `json:"code"`
	Details []json.RawMessage `json:"details,omitempty"`
	ID      string            `json:"request_id,omitempty"`
}

// AppendProblem writes the status as a problem+json document.
func (st *Status) AppendProblem(dst []byte, id string) []byte {
	status := st.Code.HTTP()
	title := http.StatusText(status)
	if title == "" {
		title = "Client Closed Request"
	}
	b, _ := json.Marshal(statusDocument{ // texts and checked JSON: cannot fail
		Type: "about:blank", Title: title, Status: status, Detail: st.Message, Code: st.Code.String(), Details: st.Details, ID: id,
	})
	return append(dst, b...)
}

// decodeBin decodes the value of a -bin header, with padding or without.
func decodeBin(s string) ([]byte, error) {
	return base64.RawStdEncoding.DecodeString(strings.TrimRight(s, "="))
}

// CodeOfAnswer is the code of an HTTP answer that is not a gRPC one, by gRPC's
// table "HTTP to gRPC Status Code Mapping".
func CodeOfAnswer(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return Internal
	case http.StatusUnauthorized:
		return 16
	case http.StatusForbidden:
		return 7
	case http.StatusNotFound:
		return 12
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unavailable
	}
	return Unknown
}
