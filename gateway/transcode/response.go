package transcode

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// jsonType is the content type of answers that are not data of their own.
const jsonType = "application/json"

// RawAnswers says whether answers are google.api.HttpBody: bytes with a content type
// of their own.
func (c *Call) RawAnswers() bool { return c.rawOut }

// RawRequests says whether the body of a request is data, and no JSON.
func (c *Call) RawRequests() bool { return c.rawBody }

// AppendAnswer writes a message of the answer as what the client gets. For raw
// answers contentType is that of the message, if it says one.
func (c *Call) AppendAnswer(dst, msg []byte) (_ []byte, contentType string, err error) {
	if c.rawOut {
		return appendData(dst, msg)
	}
	if c.response == nil {
		dst, err = c.out.AppendJSON(dst, msg)
		return dst, jsonType, err
	}
	dst, found, err := c.response.AppendJSON(dst, msg)
	if err != nil || found {
		return dst, jsonType, err
	}
	fd := c.response.Descriptor()
	switch {
	case fd.IsList():
		dst = append(dst, "[]"...)
	case fd.IsMap():
		dst = append(dst, "{}"...)
	default:
		dst = append(dst, "null"...)
	}
	return dst, jsonType, nil
}

// AppendStreamed writes one line of a client's stream as a message. What path and
// query say holds for each of them.
func (c *Call) AppendStreamed(dst []byte, r *Request) ([]byte, error) {
	if c.Body == "" { // a document need not describe bodies of streams
		start := len(dst)
		dst, err := c.in.AppendWire(dst, r.Body)
		if err != nil {
			return dst, refuse("transcode_body", "a message", err)
		}
		return c.appendParams(dst, dst[start:], r)
	}
	return c.AppendMessage(dst, r)
}

var errHTTPBody = errors.New("malformed google.api.HttpBody")

// appendData takes the data out of a google.api.HttpBody.
func appendData(dst, msg []byte) (_ []byte, contentType string, err error) {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return dst, "", errHTTPBody
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return dst, "", errHTTPBody
		}
		if typ == protowire.BytesType && (num == 1 || num == 2) {
			value, _ := protowire.ConsumeBytes(msg[n:])
			if num == 1 {
				contentType = string(value)
			} else {
				dst = append(dst, value...)
			}
		}
		msg = msg[n+m:]
	}
	return dst, contentType, nil
}
