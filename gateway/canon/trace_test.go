package canon

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTraceContext(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	f := func(row string, want http.Header, lines ...string) {
		t.Helper()
		t.Run(row, func(t *testing.T) {
			t.Helper()
			r := read(t, append([]string{"GET / HTTP/1.1"}, lines...)...)
			if code := refusal(t, NewPolicy(Options{}), r); code != 0 {
				t.Fatalf("refused with %d", code)
			}
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
	none, kept := http.Header{}, http.Header{"Traceparent": {good}}
	f("I21: as it should be", http.Header{"Traceparent": {good}, "Tracestate": {"a=1,b=2"}}, "traceparent: "+good, "tracestate: a=1,b=2")
	f("I21: a later version", http.Header{"Traceparent": {"cc" + good[2:] + "-more"}}, "Traceparent: cc"+good[2:]+"-more")
	f("I21: 32 members", http.Header{"Traceparent": {good}, "Tracestate": {"a=1" + strings.Repeat(",b=2", 31)}}, "Traceparent: "+good, "Tracestate: a=1"+strings.Repeat(",b=2", 31))
	f("I21: 1000 members", kept, "Traceparent: "+good, "Tracestate: a=1"+strings.Repeat(",b=2", 999))
	f("I21: 33 members in two lines", kept, "Traceparent: "+good, "Tracestate: a=1", "Tracestate: a=1"+strings.Repeat(",b=2", 31))
	f("I21: a large member", kept, "Traceparent: "+good, "Tracestate: a="+strings.Repeat("1", maxTracestate))
	f("I21: state alone", none, "Tracestate: a=1")
	f("I21: two", none, "Traceparent: "+good, "Traceparent: "+good, "Tracestate: a=1")
	for name, bad := range map[string]string{
		"empty": "", "short": good[1:], "long": good + "-more", "later and glued": "cc" + good[2:] + "more", "upper case": strings.ToUpper(good),
		"no trace": "00-" + strings.Repeat("0", 32) + good[35:], "no parent": good[:36] + strings.Repeat("0", 16) + good[52:],
		"version ff": "ff" + good[2:], "dashes": strings.ReplaceAll(good, "-", "_"), "nonsense": "' OR 1=1 --" + strings.Repeat("x", 60),
		"version": "0g" + good[2:], "flags": good[:53] + "0x",
	} {
		f("I21: "+name, none, "Traceparent: "+bad, "Tracestate: a=1")
	}
}
