package transcode

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/transcode/wire"
)

const (
	maxLevels = 32   // of a parameter's path
	maxParams = 1000 // in a query
)

// Request is what a call is made of.
type Request struct {
	Vars        []string // of the path, as Match gives them
	Query       string   // as it stands in the URL
	Header      http.Header
	ContentType string // of the body; only for bodies that are data
	Body        []byte
}

// AppendMessage writes the message of a call without streams. Errors are the
// client's, ready for its answer.
func (c *Call) AppendMessage(dst []byte, r *Request) ([]byte, error) {
	start := len(dst)
	dst, err := c.appendBody(dst, r)
	if err != nil {
		return dst, refuse("transcode_body", "the body", err)
	}
	body := dst[start:]
	if dst, err = c.appendParams(dst, body, r); err != nil {
		return dst, err
	}
	return dst, nil
}

func (c *Call) appendBody(dst []byte, r *Request) ([]byte, error) {
	switch {
	case c.Body == "":
		if len(bytes.TrimSpace(r.Body)) > 0 {
			return dst, errors.New("this operation takes none")
		}
		return dst, nil
	case c.rawBody:
		return c.appendRaw(dst, r), nil
	case len(bytes.TrimSpace(r.Body)) == 0:
		return dst, nil // as if the object were empty
	case c.body != nil:
		return c.body.AppendWire(dst, r.Body)
	}
	return c.in.AppendWire(dst, r.Body)
}

// appendRaw writes the body as a google.api.HttpBody.
func (c *Call) appendRaw(dst []byte, r *Request) []byte {
	if c.body != nil {
		n := protowire.SizeBytes(len(r.Body)) + 1
		if r.ContentType != "" {
			n += protowire.SizeBytes(len(r.ContentType)) + 1
		}
		dst = protowire.AppendTag(dst, c.body.Descriptor().Number(), protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(n))
	}
	if r.ContentType != "" {
		dst = protowire.AppendTag(dst, 1, protowire.BytesType)
		dst = protowire.AppendString(dst, r.ContentType)
	}
	dst = protowire.AppendTag(dst, 2, protowire.BytesType)
	return protowire.AppendBytes(dst, r.Body)
}

// appendParams writes what is not in the body behind it, so that it has the last
// word. What body says otherwise of the same field is a contradiction.
func (c *Call) appendParams(dst, body []byte, r *Request) ([]byte, error) {
	var err error
	for i, p := range c.path {
		if dst, err = p.append(dst, body, r.Vars[i:i+1]); err != nil {
			return dst, paramError("path", p.name, err)
		}
	}
	for _, p := range c.header {
		if values := r.Header[p.name]; len(values) > 0 {
			if dst, err = p.append(dst, body, values); err != nil {
				return dst, paramError("header", p.name, err)
			}
		}
	}
	for _, p := range c.cookie {
		if values := cookies(r.Header, p.name); len(values) > 0 {
			if dst, err = p.append(dst, body, values); err != nil {
				return dst, paramError("cookie", p.name, err)
			}
		}
	}
	masked := false
	if r.Query != "" {
		if dst, masked, err = c.appendQuery(dst, body, r.Query); err != nil {
			return dst, err
		}
	}
	if c.mask != 0 && !masked {
		return c.appendMask(dst, r.Body)
	}
	return dst, nil
}

func cookies(h http.Header, name string) (values []string) {
	for _, line := range h["Cookie"] {
		parsed, err := http.ParseCookie(line)
		if err != nil {
			continue // the canonical view decides about malformed ones
		}
		for _, c := range parsed {
			if c.Name == name {
				values = append(values, c.Value)
			}
		}
	}
	return values
}

// appendQuery writes the parameters of a query in the order of their names.
// masked says whether one of them was the mask of a PATCH.
func (c *Call) appendQuery(dst, body []byte, query string) (_ []byte, masked bool, err error) {
	if strings.Count(query, "&") >= maxParams {
		return dst, false, refuse("transcode_query", "the query", fmt.Errorf("more than %d parameters", maxParams))
	}
	all, err := url.ParseQuery(query)
	if err != nil {
		return dst, false, refuse("transcode_query", "the query", errors.New("malformed"))
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p, key, err := c.queryParam(name)
		switch {
		case err != nil:
			return dst, false, paramError("query", name, err)
		case p == nil:
			continue // unknown, and not minded
		case key == "":
			dst, err = p.append(dst, body, all[name])
		default:
			for _, value := range all[name] {
				if dst, err = p.field.AppendEntry(dst, key, value); err != nil {
					break
				}
			}
		}
		if err != nil {
			return dst, false, paramError("query", name, err)
		}
		masked = masked || c.mask != 0 && len(p.nums) > 0 && p.nums[0] == c.mask
	}
	return dst, masked, nil
}

// queryParam finds what a name in a query stands for. key is that of an entry of a map.
func (c *Call) queryParam(name string) (p *param, key string, err error) {
	if p := c.query[name]; p != nil && !p.field.Descriptor().IsMap() {
		return p, "", nil
	}
	if strings.Count(name, ".")+strings.Count(name, "[") >= maxLevels {
		return nil, "", fmt.Errorf("more than %d levels", maxLevels)
	}
	base, rest, bracket := strings.Cut(name, "[")
	known := c.query[base]
	if known == nil && !c.anyQuery {
		return c.unknownQuery()
	}
	if !bracket {
		if known != nil {
			return nil, "", errors.New("is a map; write name[key]=value")
		}
		if p, err = c.newParam(name, name); err != nil {
			return c.unknownQuery()
		}
		if p.field.Descriptor().IsMap() {
			return nil, "", errors.New("is a map; write name[key]=value")
		}
		return p, "", nil
	}
	path := base
	if known != nil {
		if !known.deep {
			return c.unknownQuery()
		}
		path = known.path
	}
	return c.bracketed(name, path, rest)
}

// bracketed reads name[member][member]=value, the last of which may be the key of a map.
func (c *Call) bracketed(name, path, rest string) (*param, string, error) {
	rest, ok := strings.CutSuffix(rest, "]")
	if !ok {
		return c.unknownQuery()
	}
	members := strings.Split(rest, "][")
	for i, member := range members {
		p, err := c.newParam(name, path)
		if err != nil {
			return c.unknownQuery()
		}
		if p.field.Descriptor().IsMap() {
			if i+1 < len(members) {
				return nil, "", errors.New("goes on behind the key of a map")
			}
			if member == "" {
				return nil, "", errors.New("has no key")
			}
			return p, member, nil
		}
		if member == "" && i+1 == len(members) {
			return p, "", nil // list[]=value, as some clients write lists
		}
		path += "." + member
	}
	p, err := c.newParam(name, path)
	if err != nil {
		return c.unknownQuery()
	}
	return p, "", nil
}

func (c *Call) unknownQuery() (*param, string, error) {
	if c.opts.DiscardUnknown {
		return nil, "", nil
	}
	return nil, "", errors.New("this operation has no such parameter")
}

// append writes the values of a parameter.
func (p *param) append(dst, body []byte, values []string) ([]byte, error) {
	if p.split != "" {
		var all []string
		for _, v := range values {
			for part := range strings.SplitSeq(v, p.split) {
				if p.split == "," {
					part = strings.TrimSpace(part)
				}
				all = append(all, part)
			}
		}
		values = all
	}
	start := len(dst)
	dst, err := p.field.AppendText(dst, values...)
	if err != nil {
		return dst, err
	}
	if len(body) > 0 && contradicts(body, dst[start:], p.nums) {
		return dst, errors.New("the body says otherwise")
	}
	return dst, nil
}

// refuse makes an error for the client of what is wrong with a part of its request.
func refuse(reason, what string, err error) *gateway.Error {
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	msg := what + ": " + err.Error()
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Path == "" {
		msg = what + ": " + e.Msg
	}
	return &gateway.Error{Status: http.StatusBadRequest, Reason: reason, Msg: msg, Cause: gateway.CauseClient, GRPC: 3}
}

func paramError(in, name string, err error) *gateway.Error {
	if len(name) > 100 {
		name = name[:100] + "..."
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		err = errors.New(e.Msg)
	}
	return refuse("transcode_parameter", fmt.Sprintf("the %s parameter %q", in, name), err)
}
