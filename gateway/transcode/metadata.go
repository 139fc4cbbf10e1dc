package transcode

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MetadataPrefix is what metadata have before their names in HTTP headers, and
// TrailerPrefix those that come at the end.
const (
	MetadataPrefix = "Grpc-Metadata-"
	TrailerPrefix  = "Grpc-Trailer-"
)

// reserved are headers that belong to HTTP or to gRPC itself, and never are metadata.
var reserved = map[string]bool{
	"Connection": true, "Content-Encoding": true, "Content-Length": true, "Content-Type": true, "Date": true, "Expect": true, "Host": true,
	"Keep-Alive": true, "Proxy-Connection": true, "Server": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"Forwarded": true, "X-Forwarded-For": true, "X-Forwarded-Host": true, "X-Forwarded-Proto": true, "X-Real-Ip": true, "X-Forwarded": true,
	"Cookie": true, "Set-Cookie": true, "X-Content-Type-Options": true,
}

// Reserved says whether a header, by its canonical name, can not be metadata.
func Reserved(name string) bool {
	return reserved[name] || strings.HasPrefix(name, "Grpc-") || strings.HasPrefix(name, ":")
}

// negotiation are headers that speak of the REST request and its answer, and say
// nothing true of the call.
var negotiation = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Expect",
	"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Timeout", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since",
	"Range", "Sec-Websocket-Accept", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// CallHeader is the header of a call for a REST request with header in. Of those
// with MetadataPrefix the ones in metadata become metadata; if only is not nil,
// of all others only those in it go on. Names are canonical.
func CallHeader(in http.Header, metadata, only map[string]bool) http.Header {
	out := make(http.Header, len(in)+4)
	for name, values := range in {
		if bare, ok := strings.CutPrefix(name, MetadataPrefix); ok {
			if bare = http.CanonicalHeaderKey(bare); metadata[bare] && !Reserved(bare) && wellFormed(bare, values) {
				out[bare] = values
			}
			continue
		}
		if only == nil || only[name] {
			if _, set := out[name]; !set {
				out[name] = values
			}
		}
	}
	for _, name := range negotiation {
		delete(out, name)
	}
	out["Content-Type"] = []string{"application/grpc"}
	out["Te"] = []string{"trailers"}
	out["Grpc-Accept-Encoding"] = []string{"identity"}
	return out
}

// wellFormed refuses what is no base64 under a name that says it is, and bytes
// that no header may hold.
func wellFormed(name string, values []string) bool {
	for _, v := range values {
		for i := range len(v) {
			if v[i] < 0x20 && v[i] != '\t' || v[i] == 0x7f {
				return false
			}
		}
		if strings.HasSuffix(name, "-Bin") {
			for part := range strings.SplitSeq(v, ",") {
				if _, err := decodeBin(strings.TrimSpace(part)); err != nil {
					return false
				}
			}
		}
	}
	return true
}

// AnswerHeader copies the metadata of an answer into dst: those in plain under
// their own names, those in metadata (nil: all) behind prefix.
func AnswerHeader(dst, from http.Header, prefix string, metadata, plain map[string]bool) {
	for name, values := range from {
		if name = http.CanonicalHeaderKey(name); Reserved(name) || !wellFormed(name, values) {
			continue
		}
		switch {
		case plain[name]:
			dst[name] = append(dst[name], values...)
		case metadata == nil || metadata[name]:
			dst[prefix+name] = append(dst[prefix+name], values...)
		}
	}
}

// timeouts are the units of grpc-timeout, the finest first.
var timeouts = [...]struct {
	unit byte
	d    time.Duration
}{{'n', time.Nanosecond}, {'u', time.Microsecond}, {'m', time.Millisecond}, {'S', time.Second}, {'M', time.Minute}, {'H', time.Hour}}

// ParseTimeout reads the value of a grpc-timeout: up to eight digits and a unit.
func ParseTimeout(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > 9 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil {
		return 0, false
	}
	for _, t := range timeouts {
		if t.unit == s[len(s)-1] {
			return min(time.Duration(n), time.Duration(1<<62)/t.d) * t.d, true
		}
	}
	return 0, false
}

// FormatTimeout is the value of grpc-timeout for d, in the finest unit whose number
// has eight digits.
func FormatTimeout(d time.Duration) string {
	d = max(d, 0)
	for _, t := range timeouts {
		if n := d / t.d; n < 100_000_000 {
			return strconv.FormatInt(int64(n), 10) + string(t.unit)
		}
	}
	return "99999999H"
}
