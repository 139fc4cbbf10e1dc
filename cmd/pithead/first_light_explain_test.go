package main

import (
	"net/http"
	"testing"
)

// wantExplained compares the clients' view with the access log, request by
// request. The one excuse for a failure is the crash. m is from before the end.
func (f *firstLight) wantExplained(t *testing.T, m metrics, answers []answer) {
	lines := f.accessLog()
	received, blamed := 0, 0          // attempts that the crashed instance is to blame for
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
		case l.Status != a.status, l.Method != a.method, l.Reason != a.reason, l.BytesOut != a.got:
			t.Errorf("request %s: the client got %+v, the log says %+v", a.id, a, l)
		case a.status != http.StatusOK:
			f.wantExcused(t, a, l)
		case l.Attempts != 1 && !a.began.Before(f.out):
			t.Errorf("request %s took %d attempts when all instances were well", a.id, l.Attempts)
		default:
			f.wantPlaced(t, a, l)
		}
		if blamed += l.Attempts - 1; a.status != http.StatusOK {
			blamed++
		}
		if t.Failed() {
			return // one is enough
		}
	}
	m.want(t, "request_body_bytes_total", "", received)
	if blamed != f.failures {
		t.Errorf("%d attempts failed by the log, %d at the crashed instance by the metrics", blamed, f.failures)
	}
}

// wantExcused checks that a failed request had been sent to the crashed instance
// and was not answered there. One that could not be sent goes to another instance.
func (f *firstLight) wantExcused(t *testing.T, a answer, l line) {
	switch {
	case l.Endpoint != f.crashed.addr, a.reason != "upstream_reset", l.Cause != "upstream", a.began.After(f.out):
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
