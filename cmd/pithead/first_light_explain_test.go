package main

import (
	"net/http"
	"testing"
)

// wantExplained compares the clients' view with the access log, request by
// request. The one excuse for a failure is the crash. m is from before the end.
func (f *firstLight) wantExplained(t *testing.T, m metrics, answers []answer) {
	lines := f.accessLog()
	received := 0
	if len(lines) != len(answers)+1 { // and the one of the end
		t.Errorf("%d requests were answered, %d are in the access log", len(answers)+1, len(lines))
	}
	for _, a := range answers {
		l, logged := lines[a.id]
		received += l.BytesIn
		switch {
		case a.fate != answered:
			t.Errorf("request %s was lost: %v", a.id, a.err)
		case !logged:
			t.Errorf("request %s is not in the access log", a.id)
		case l.Status != a.status, l.Method != a.method, l.Reason != a.reason, l.BytesOut != a.got, l.Attempts != 1:
			t.Errorf("request %s: the client got %+v, the log says %+v", a.id, a, l)
		case a.status != http.StatusOK:
			f.wantExcused(t, a, l)
		default:
			f.wantPlaced(t, a, l)
		}
		if t.Failed() {
			return // one is enough
		}
	}
	m.want(t, "request_body_bytes_total", "", received)
}

// wantExcused checks that a failed request was sent to the crashed instance,
// before the gateway knew, and had not been answered there.
func (f *firstLight) wantExcused(t *testing.T, a answer, l line) {
	causes := map[string]string{"upstream_reset": "upstream", "connect_failed": "network"}
	switch {
	case l.Endpoint != f.crashed.addr, causes[a.reason] == "", causes[a.reason] != l.Cause, a.began.After(f.out):
		t.Errorf("request %s failed: %v; the log says %+v", a.id, a.err, l)
	case f.crashed.saw(a.id) && !f.underWay[a.id]:
		t.Errorf("request %s failed, but was not under way on the crashed instance", a.id)
	}
}

// wantPlaced checks that a request went where it asked to go.
func (f *firstLight) wantPlaced(t *testing.T, a answer, l line) {
	in, ok := f.instances[a.backend]
	wanted := map[string]string{"always": "canary", "never": "stable", "": a.arm}[a.canary]
	fellBack := l.ArmBy == "fallback" && a.ended.After(f.reset) && a.began.Before(f.settledAt)
	switch {
	case !ok, l.Endpoint != in.addr, l.Arm != a.arm, l.BytesIn != a.sent, !in.saw(a.id):
		t.Errorf("request %s: the client got %+v, the log says %+v", a.id, a, l)
	case a.arm != wanted && !fellBack:
		t.Errorf("request %s with x-canary %q went to %s by %s", a.id, a.canary, a.arm, l.ArmBy)
	case a.canary != "" && l.ArmBy != "header" && !fellBack:
		t.Errorf("request %s with x-canary %q was placed by %s", a.id, a.canary, l.ArmBy)
	}
}
