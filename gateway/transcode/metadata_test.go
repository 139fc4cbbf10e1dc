package transcode

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Metadata that could end a header line, or are not what their names say, are left out.
func TestMetadataThatIsNoHeader(t *testing.T) {
	for _, tt := range []struct{ name, key, value string }{
		{"B21 CRLF", "X-Plain", "a\r\nSet-Cookie: b=c"},
		{"B21 LF", "X-Plain", "a\nb"},
		{"B21 CR", "X-Plain", "a\rb"},
		{"B21 NUL", "X-Plain", "a\x00b"},
		{"B21 DEL", "X-Plain", "a\x7fb"},
		{"B21 no base64", "X-Data-Bin", "not base64!"},
		{"B21 one of several is no base64", "X-Data-Bin", "AAE,*"},
		{"B21 CRLF in base64", "X-Data-Bin", "AA\r\nE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := http.Header{}
			all := map[string]bool{tt.key: true}
			AnswerHeader(got, http.Header{tt.key: {tt.value}, "X-Good": {"a\tb"}, "X-Good-Bin": {"AAE", "AAE="}}, MetadataPrefix, nil, nil)
			AnswerHeader(got, http.Header{tt.key: {tt.value}}, TrailerPrefix, nil, all)
			want := http.Header{"Grpc-Metadata-X-Good": {"a\tb"}, "Grpc-Metadata-X-Good-Bin": {"AAE", "AAE="}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("to the client:\n%s", diff)
			}
			sent := CallHeader(http.Header{MetadataPrefix + tt.key: {tt.value}}, all, nil)
			if values, ok := sent[tt.key]; ok {
				t.Errorf("to the service: %q", values)
			}
		})
	}
}

const scales = `syntax = "proto3";
package library.v1;
import "google/api/annotations.proto";
service Shelves {
  rpc Weigh(Book) returns (Book) {
    option (google.api.http) = {post: "/v1/weigh" body: "*"};
  }
}
enum Binding { NONE = 0; PAPER = 1; }
message Book { double weight = 1; Binding binding = 2; repeated Binding others = 3; }
`

// Numbers beyond JSON's, and those of enums that nobody has named yet, go both ways.
func TestNumbersOfACall(t *testing.T) {
	table, err := Bind(nil, schemaOf(t, scales), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, _, _ := table.Match("POST", "/v1/weigh")
	if c == nil {
		t.Fatal("no call")
	}
	for _, tt := range []struct{ name, body, want string }{
		{"B05 NaN token", `{"weight":NaN}`, ""},
		{"B05 Infinity token", `{"weight":-Infinity}`, ""},
		{"B05 NaN of protobuf's mapping", `{"weight":"NaN"}`, `{"weight":"NaN"}`},
		{"B05 Infinity of protobuf's mapping", `{"weight":"-Infinity"}`, `{"weight":"-Infinity"}`},
		{"B05 another spelling", `{"weight":"nan"}`, ""},
		{"B05 +Infinity", `{"weight":"+Infinity"}`, ""},
		{"B13 unknown number", `{"binding":999,"others":[1,-5]}`, `{"binding":999,"others":["PAPER",-5]}`},
		{"B13 number in a string", `{"binding":"999"}`, ""},
		{"B13 unknown name", `{"binding":"LEATHER"}`, ""},
		{"B13 fraction", `{"binding":1.5}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire, err := c.AppendMessage(nil, &Request{Body: []byte(tt.body), ContentType: "application/json"})
			if (err != nil) != (tt.want == "") {
				t.Fatalf("got %x, %v", wire, err)
			}
			if err != nil {
				return
			}
			got, _, err := c.AppendAnswer(nil, wire)
			if string(got) != tt.want || err != nil {
				t.Errorf("came back as %s, %v", got, err)
			}
		})
	}
}
