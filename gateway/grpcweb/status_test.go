package grpcweb

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pithead/pithead/gateway/transcode"
)

// trailersOf are the trailers of a status, as a service writes them.
func trailersOf(t *testing.T, code codes.Code, message string) http.Header {
	t.Helper()
	st, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: "SOLD_OUT"})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := proto.Marshal(st.Proto())
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{
		"Grpc-Status": {"9"}, "Grpc-Message": {EscapeMessage(message)},
		"Grpc-Status-Details-Bin": {base64.RawStdEncoding.EncodeToString(raw)},
	}
}

func TestReadStatus(t *testing.T) {
	soldOut := trailersOf(t, codes.FailedPrecondition, "sold out: ä %")
	with := func(name, value string) http.Header {
		h := soldOut.Clone()
		h[name] = []string{value}
		return h
	}
	detail := []Detail{{"google.rpc.ErrorInfo", base64.RawStdEncoding.EncodeToString([]byte("\x0a\x08SOLD_OUT"))}}
	tests := []struct {
		name string
		h    http.Header
		want Status
		bad  bool
	}{
		{name: "well", h: http.Header{"Grpc-Status": {"0"}}},
		{name: "with details", h: soldOut, want: Status{9, "sold out: ä %", detail}},
		{name: "B20 none", h: http.Header{}, bad: true},
		{name: "B20 no number", h: with("Grpc-Status", "nine"), bad: true},
		{name: "B20 malformed message", h: with("Grpc-Message", "100%zz %"), want: Status{9, "100%zz %", detail}},
		{name: "details of another status", h: with("Grpc-Status", "5"), want: Status{5, "sold out: ä %", nil}},
		{name: "B21 details in bad base64", h: with("Grpc-Status-Details-Bin", "*"), want: Status{9, "sold out: ä %", nil}},
		{name: "too many details", h: with("Grpc-Status-Details-Bin", strings.Repeat("A", 1<<20)), want: Status{9, "sold out: ä %", nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ReadStatus(tt.h)
			if ok == tt.bad || !tt.bad && !cmp.Equal(got, tt.want) {
				t.Errorf("%v\n%s", ok, cmp.Diff(tt.want, got))
			}
		})
	}
}

func TestAppendTrailers(t *testing.T) {
	st := Status{Code: 9}
	metadata := http.Header{"X-Left": {"3", "4"}, "X-Evil": {"a\r\ngrpc-status: 0"}}
	got := st.AppendTrailers([]byte("before"), http.Header{"Grpc-Message": {"sold%20out"}}, metadata)
	block := "grpc-status: 9\r\ngrpc-message: sold%20out\r\nx-left: 3\r\nx-left: 4\r\n"
	if want := "before" + frame(FlagTrailers, block); string(got) != want {
		t.Errorf("B21: %q, want %q", got, want)
	}
}

func TestAppendError(t *testing.T) {
	for _, tt := range []struct {
		st   Status
		want string
	}{
		{Status{Code: 1}, `{"code":"canceled"}`},
		{Status{Code: 99, Message: "what?"}, `{"code":"unknown","message":"what?"}`},
		{Status{9, "no", []Detail{{"a.B", "AQ"}}}, `{"code":"failed_precondition","message":"no","details":[{"type":"a.B","value":"AQ"}]}`},
	} {
		if got := string(tt.st.AppendError(nil)); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

// The end of a stream is one frame with JSON that says what the status and the
// metadata say, whatever is in them.
func FuzzAppendEnd(f *testing.F) {
	f.Add(uint32(5), "no \"order\"", "X-Left", "3")
	f.Add(uint32(0), "", "", "")
	f.Fuzz(func(t *testing.T, code uint32, message, name, value string) {
		st := Status{Code: transcode.Code(code), Message: message}
		raw := st.AppendEnd(nil, http.Header{name: {value}})
		s := Scanner{Max: len(raw)}
		if raw[0] != FlagEnd || s.Scan(append([]byte{0}, raw[1:]...)) != nil || s.End() != nil || s.Messages != 1 {
			t.Fatalf("%q is not one frame with the flag of the end", raw)
		}
		var end struct {
			Error    *struct{ Code, Message string }
			Metadata map[string][]string
		}
		if err := json.Unmarshal(raw[HeadLen:], &end); err != nil {
			t.Fatal(err)
		}
		valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
		if (end.Error == nil) != (code == 0) || end.Error != nil && !sameText(end.Error.Message, message) {
			t.Fatalf("%s of %d %q", raw[HeadLen:], code, message)
		}
		if got := end.Metadata[strings.ToLower(valid(name))]; valid(name) == name && (len(got) != 1 || !sameText(got[0], value)) {
			t.Fatalf("%s of %q: %q", raw[HeadLen:], name, value)
		}
	})
}

// sameText compares but for bytes that are not UTF-8.
func sameText(got, sent string) bool {
	var want strings.Builder
	for _, r := range sent {
		want.WriteRune(r)
	}
	return got == want.String()
}
