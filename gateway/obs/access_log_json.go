package obs

import (
	"net/http"
	"strconv"
	"time"

	"github.com/pithead/pithead/gateway"
)

// appendJSON appends the line of a request as a JSON object. What is empty is
// left out. The time is that of the end, so that lines are nearly in order;
// ttfb_ms is how long the upstream took to begin its answer, from the first
// attempt on; gateway_ms and upstream_ms add up to duration_ms.
func appendJSON(b []byte, r *http.Request, x *gateway.Exchange, end time.Time) []byte {
	b = append(b, `{"time":"`...)
	b = end.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = appendField(b, "id", x.ID)
	if x.Client.IsValid() {
		b = append(b, `,"client":"`...)
		b = x.Client.AppendTo(b)
		b = append(b, '"')
	}
	b = appendField(b, "listener", x.Listener)
	b = appendField(b, "proto", r.Proto)
	b = appendField(b, "scheme", x.Scheme)
	b = appendField(b, "method", r.Method)
	b = appendField(b, "host", r.Host)
	b = appendField(b, "path", pathOf(r))
	if r.URL.RawQuery != "" {
		b = append(b, `,"query":"`...)
		b = appendQuery(b, r.URL.RawQuery, appendEscaped)
		b = append(b, '"')
	}
	b = appendNumber(b, "status", int64(x.Status))
	b = appendNumber(b, "bytes_in", x.BytesIn)
	b = appendNumber(b, "bytes_out", x.BytesOut)
	b = appendTimes(b, x, end)
	b = appendField(b, "route", x.Route)
	b = appendField(b, "upstream", x.Upstream)
	b = appendField(b, "arm", x.Arm)
	b = appendField(b, "arm_by", x.ArmBy)
	if x.Endpoint != nil {
		b = appendField(b, "endpoint", x.Endpoint.Addr)
	}
	if x.Attempts > 0 {
		b = appendNumber(b, "attempts", int64(x.Attempts))
	}
	b = appendField(b, "subject", x.Subject)
	b = appendField(b, "user_agent", r.UserAgent())
	b = appendField(b, "referer", refererWithoutSecrets(r.Referer()))
	b = appendError(b, x.Err)
	b = appendPhases(b, x)
	return append(b, '}')
}

func appendTimes(b []byte, x *gateway.Exchange, end time.Time) []byte {
	t := split(x, end)
	b = appendMillis(b, "duration_ms", t.whole)
	b = appendMillis(b, "gateway_ms", t.gateway)
	if t.tried {
		b = appendMillis(b, "upstream_ms", t.upstream)
	}
	if t.tried && !x.UpstreamHeaders.IsZero() {
		b = appendMillis(b, "ttfb_ms", x.UpstreamHeaders.Sub(x.UpstreamStart))
	}
	return b
}

func appendError(b []byte, err *gateway.Error) []byte {
	if err == nil {
		return b
	}
	b = appendField(b, "reason", err.Reason)
	b = appendField(b, "cause", err.Cause.String())
	if err.Err != nil {
		b = append(b, `,"error":"`...)
		b = appendErrorText(b, err.Err.Error(), appendEscaped)
		b = append(b, '"')
	}
	return b
}

// pathOf is the path as it was sent, if its encoding says more than the decoded one.
func pathOf(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.Path
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendField(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	b = append(appendKey(b, key), '"')
	return append(appendEscaped(b, value), '"')
}

func appendNumber(b []byte, key string, n int64) []byte {
	return strconv.AppendInt(appendKey(b, key), n, 10)
}

func appendMillis(b []byte, key string, d time.Duration) []byte {
	return appendMicros(appendKey(b, key), d)
}

// appendMicros writes d in milliseconds with three decimals, a fifth of the
// cost of formatting a float.
func appendMicros(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	rest := us % 1000
	return append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
}
