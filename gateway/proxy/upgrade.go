package proxy

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
)

// wantsUpgrade says whether r asks for the one upgrade that passes, WebSocket.
// Any other one is not forwarded, above all h2c: behind a tunnel of HTTP/2 the
// upstream would take requests that no policy has seen (GO-2023-1495). RFC 9110
// section 7.8 lets a server ignore an upgrade.
func wantsUpgrade(r *http.Request) (bool, error) {
	values, ok := r.Header["Upgrade"]
	if !ok || r.ProtoMajor != 1 {
		return false, nil
	}
	for _, v := range values {
		if !isProtocols(v) {
			return false, gateway.BadRequest("bad_upgrade", "malformed Upgrade header")
		}
	}
	if r.ProtoMinor == 0 || len(values) != 1 || !strings.EqualFold(values[0], "websocket") ||
		!grammar.HasToken(r.Header["Connection"], "upgrade") {
		return false, nil
	}
	if r.Method != http.MethodGet || hasBody(r) {
		return false, gateway.BadRequest("bad_upgrade", "a WebSocket handshake is a GET without a body")
	}
	// RFC 6455 section 4.1, 7: the base64 form of 16 bytes.
	key := r.Header["Sec-Websocket-Key"]
	if len(key) != 1 {
		return false, gateway.BadRequest("bad_upgrade", "a WebSocket handshake has one Sec-WebSocket-Key")
	}
	if raw, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(raw) != 16 {
		return false, gateway.BadRequest("bad_upgrade", "malformed Sec-WebSocket-Key")
	}
	return true, nil
}

// isProtocols says whether v is a list of protocols (RFC 9110 section 7.8) as
// far as its bytes go.
func isProtocols(v string) bool {
	for i := range len(v) {
		if c := v[i]; c <= ' ' && c != ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return v != ""
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}
