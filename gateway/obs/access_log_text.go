package obs

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
)

const textTime = "2006-01-02T15:04:05.000Z"

// appendText appends the line of a request for people: columns for what one
// looks at first, then key=value. Fields are escaped as in JSON, and a space in
// one of them too, so that nothing a client sends can look like another column.
//
//	2026-01-02T03:04:05.678Z 200 GET         1.234ms api.example.com/v1/orders/7 orders/canary 10.0.0.7:9000 client=192.0.2.1
func appendText(b []byte, r *http.Request, x *gateway.Exchange, end time.Time) []byte {
	b = end.UTC().AppendFormat(b, textTime)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(x.Status), 10)
	b = append(b, ' ')
	start := len(b)
	b = padRight(appendWord(b, r.Method), start, 7)
	b = append(b, ' ')
	start = len(b)
	b = padLeft(append(appendMicros(b, end.Sub(x.Start)), "ms"...), start, 11)
	b = append(b, ' ')
	b = appendWord(b, r.Host)
	b = appendWord(b, pathOf(r))
	if r.URL.RawQuery != "" {
		b = append(b, '?')
		b = appendQuery(b, r.URL.RawQuery, appendWord)
	}
	b = append(b, ' ')
	b = appendPlace(b, x)
	if x.Client.IsValid() {
		b = append(b, " client="...)
		b = x.Client.AppendTo(b)
	}
	b = appendPair(b, "subject", x.Subject)
	b = appendPair(b, "id", x.ID)
	if x.Err != nil {
		b = appendPair(b, "reason", x.Err.Reason)
		b = appendPair(b, "cause", x.Err.Cause.String())
		if x.Err.Err != nil {
			b = append(b, ` error="`...)
			b = appendErrorText(b, x.Err.Err.Error(), appendEscaped)
			b = append(b, '"')
		}
	}
	return appendPhaseWords(b, x)
}

// appendPlace writes where the request went: upstream, arm and endpoint, or "-".
func appendPlace(b []byte, x *gateway.Exchange) []byte {
	if x.Upstream == "" {
		return append(b, '-')
	}
	b = appendWord(b, x.Upstream)
	if x.Arm != "" {
		b = append(b, '/')
		b = appendWord(b, x.Arm)
	}
	if x.Endpoint != nil {
		b = append(b, ' ')
		b = appendWord(b, x.Endpoint.Addr)
	}
	return b
}

func appendPair(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	return appendWord(b, value)
}

func padRight(b []byte, start, width int) []byte {
	for len(b)-start < width {
		b = append(b, ' ')
	}
	return b
}

func padLeft(b []byte, start, width int) []byte {
	n := len(b) - start
	for range width - n {
		b = append(b, ' ')
	}
	if n < width {
		copy(b[start+width-n:], b[start:start+n])
		for i := range width - n {
			b[start+i] = ' '
		}
	}
	return b
}
