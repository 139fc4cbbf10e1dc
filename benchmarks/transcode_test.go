package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestTranscodeOrderSizes(t *testing.T) {
	for i, want := range []int{1 << 10, 32 << 10} {
		body, err := json.Marshal(newTranscodeOrder(transcodeCases[i].items))
		if err != nil {
			t.Fatal(err)
		}
		if len(body) < want*9/10 || len(body) > want*12/10 {
			t.Errorf("%s: %d bytes", transcodeCases[i].name, len(body))
		}
	}
}

func TestSameJSON(t *testing.T) {
	for _, tt := range []struct {
		answer string
		same   bool
	}{
		{`{ "b" : [1, 2], "a":"x" }`, true},
		{`{"a":"x","b":[1,2,3]}`, false},
		{`{"a":"x"}`, false},
		{`{"a":"x","b":[1,2]`, false},
	} {
		if err := sameJSON([]byte(`{"a":"x","b":[1,2]}`), []byte(tt.answer)); (err == nil) != tt.same {
			t.Errorf("%s: %v", tt.answer, err)
		}
	}
}

// Ratios are of rounds, and a goal that is missed is told.
func TestWriteTranscode(t *testing.T) {
	samples := func(us ...time.Duration) (all []transcodeSample) {
		for _, n := range us {
			all = append(all, transcodeSample{cpu: n * time.Microsecond, rate: 100})
		}
		return all
	}
	all := transcodeResults{
		"pithead":      {"1 KB": samples(100, 200, 100), "32 KB": samples(100, 100, 100)},
		"grpc-gateway": {"1 KB": samples(150, 240, 110), "32 KB": samples(140, 130, 160)},
	}
	var text strings.Builder
	writeTranscode(&text, runOptions{peers: transcodePeers("/bin"), rounds: 3}, all)
	for _, want := range []string{
		"| 1 KB | pithead | 10000 | 100.0 (100.0, 200.0) | 100 | 0 |",
		"| 1 KB | 1.20 | 1.10 | 1.50 | 1.0 | reached |",
		"| 32 KB | 1.40 | 1.30 | 1.60 | 1.5 | missed |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
