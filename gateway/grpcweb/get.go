package grpcweb

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
)

// Get is a Connect call that is in the query of a GET.
type Get struct {
	Encoding    string // proto or json
	Compression string // of the message; "" is none
	Message     []byte
}

// IsGet says whether a query is that of a Connect call: the two parameters that
// each has are there.
func IsGet(query string) bool {
	return hasParam(query, "encoding=") && hasParam(query, "message=")
}

func hasParam(query, begin string) bool {
	return strings.HasPrefix(query, begin) || strings.Contains(query, "&"+begin)
}

// ParseGet reads a query. The error may be shown to the client.
func ParseGet(query string) (*Get, error) {
	if strings.Count(query, "&") > 100 {
		return nil, errors.New("the query has too many parameters")
	}
	all, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	for _, name := range [...]string{"encoding", "message", "base64", "compression", "connect"} {
		if len(all[name]) > 1 {
			return nil, errors.New("the query has the parameter " + name + " more than once")
		}
	}
	if v := all.Get("connect"); v != "" && v != "v1" {
		return nil, errors.New("the parameter connect is not v1")
	}
	g := &Get{Encoding: all.Get("encoding"), Compression: all.Get("compression")}
	if g.Compression == "identity" {
		g.Compression = ""
	}
	switch all.Get("base64") {
	case "", "0":
		g.Message = []byte(all.Get("message"))
	case "1":
		text := strings.TrimRight(all.Get("message"), "=")
		if g.Message, err = base64.RawURLEncoding.DecodeString(text); err != nil {
			return nil, errors.New("the message is not in URL-safe base64")
		}
	default:
		return nil, errors.New("the parameter base64 is not 1")
	}
	return g, nil
}
