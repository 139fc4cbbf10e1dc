package grpcweb

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pithead/pithead/gateway/transcode"
)

// maxDetails bounds the details of a status in bytes.
const maxDetails = 64 << 10

// Detail is one of the details of a status: a message and its type, unread.
type Detail struct {
	Type  string `json:"type"`  // full name of the message
	Value string `json:"value"` // in base64 without padding
}

// Status is how a call ended.
type Status struct {
	Code    transcode.Code
	Message string
	Details []Detail
}

// ReadStatus reads the status from trailers, or from the head of an answer that is
// nothing but a head. Without a grpc-status that is a number ok is false.
func ReadStatus(h http.Header) (st Status, ok bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(h.Get("Grpc-Status")), 10, 32)
	if err != nil {
		return st, false
	}
	st.Code, st.Message = transcode.Code(n), transcode.UnescapeMessage(h.Get("Grpc-Message"))
	if st.Code != transcode.OK {
		st.Details = readDetails(&st, h.Get("Grpc-Status-Details-Bin"))
	}
	return st, true
}

// readDetails reads those that belong to the status. Of a message that tells of
// another status nobody knows which one holds.
func readDetails(st *Status, text string) []Detail {
	if text == "" || len(text) > base64.StdEncoding.EncodedLen(maxDetails) {
		return nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	var full spb.Status
	if err != nil || proto.Unmarshal(raw, &full) != nil || transcode.Code(full.GetCode()) != st.Code {
		return nil
	}
	details := make([]Detail, 0, len(full.GetDetails()))
	for _, d := range full.GetDetails() {
		url := d.GetTypeUrl()
		details = append(details, Detail{url[strings.LastIndexByte(url, '/')+1:], base64.RawStdEncoding.EncodeToString(d.GetValue())})
	}
	return details
}

// connectError is the JSON of a status in Connect.
type connectError struct {
	Code    string   `json:"code"`
	Message string   `json:"message,omitempty"`
	Details []Detail `json:"details,omitempty"`
}

func (st *Status) connect() *connectError {
	name := strings.ToLower(st.Code.String())
	if name == "cancelled" {
		name = "canceled"
	}
	return &connectError{name, st.Message, st.Details}
}

// AppendError appends the body of a Connect answer that is an error.
func (st *Status) AppendError(dst []byte) []byte {
	b, _ := json.Marshal(st.connect()) // texts: cannot fail
	return append(dst, b...)
}

// AppendEnd appends the last frame of a Connect stream.
func (st *Status) AppendEnd(dst []byte, metadata http.Header) []byte {
	var end struct {
		Error    *connectError       `json:"error,omitempty"`
		Metadata map[string][]string `json:"metadata,omitempty"`
	}
	if st.Code != transcode.OK {
		end.Error = st.connect()
	}
	if len(metadata) > 0 {
		end.Metadata = make(map[string][]string, len(metadata))
		for name, values := range metadata {
			end.Metadata[strings.ToLower(name)] = values
		}
	}
	b, _ := json.Marshal(end) // texts: cannot fail
	return append(AppendHead(dst, FlagEnd, len(b)), b...)
}

// AppendTrailers appends the last frame of a gRPC-Web answer: the status as it
// stands in trailers, or else st, and the metadata.
func (st *Status) AppendTrailers(dst []byte, trailers, metadata http.Header) []byte {
	start := len(dst)
	dst = AppendHead(dst, FlagTrailers, 0)
	dst = appendField(dst, "Grpc-Status", strconv.FormatUint(uint64(st.Code), 10))
	for _, name := range [...]string{"Grpc-Message", "Grpc-Status-Details-Bin"} {
		if v := trailers.Get(name); v != "" {
			dst = appendField(dst, name, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		for _, v := range metadata[name] {
			dst = appendField(dst, name, v)
		}
	}
	AppendHead(dst[start:start], FlagTrailers, len(dst)-start-HeadLen)
	return dst
}

// appendField appends a line. Values come from HTTP/2, which knows no line ends in
// them; one that has some all the same is not to make another line.
func appendField(dst []byte, name, value string) []byte {
	if strings.ContainsAny(value, "\r\n") {
		return dst
	}
	dst = append(append(dst, strings.ToLower(name)...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}

// EscapeMessage writes a text as grpc-message has it.
func EscapeMessage(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
