package gateway

import (
	"net/http"
	"slices"
	"testing"
)

func TestOnSend(t *testing.T) {
	x, out := &Exchange{}, &http.Request{}
	x.Sending(out) // nobody asked
	var calls []string
	for _, name := range []string{"first", "second"} {
		x.OnSend(func(r *http.Request) {
			if r != out {
				t.Errorf("%s got another request", name)
			}
			calls = append(calls, name)
		})
	}
	if x.Sending(out); !slices.Equal(calls, []string{"first", "second"}) {
		t.Errorf("calls: %v", calls)
	}
}
