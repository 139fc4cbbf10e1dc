package discovery

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/consul/api"
)

// FuzzConsulAnswer holds whatever a registry may say against what the rest of
// the gateway relies on.
func FuzzConsulAnswer(f *testing.F) {
	for _, seed := range []string{
		`[{"Node":{"Address":"10.0.0.1"},"Service":{"ID":"a","Port":80,"Tags":["b","a"],"Meta":{"weight":"3"}},"Checks":[{"Status":"passing"}]}]`,
		`[null,{},{"Service":null},{"Node":null,"Service":{"Port":80}},{"Service":{"Address":"10.0.0.1","Port":80},"Checks":[null]}]`,
		`[{"Service":{"Address":"169.254.169.254","Port":80}},{"Service":{"Address":"LOCALHOST.","Port":80}},{"Service":{"Address":"[::1]","Port":80}}]`,
		`[{"Service":{"Address":"x","Port":80,"Weights":{"Passing":-7},"Locality":{"Zone":"z"}}},{"Service":{"Address":"X.","Port":80}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var entries []*api.ServiceEntry
		if json.Unmarshal(text, &entries) != nil {
			return
		}
		before := ""
		for _, target := range readInstances(consulInstances(entries), false).targets {
			again, err := parseAddress(target.Addr)
			if err != nil || again != target.Addr || denied(target.Addr, false) != "" {
				t.Errorf("%s gave the address %q (%v)", text, target.Addr, err)
			}
			if target.Addr <= before {
				t.Errorf("%q comes after %q", target.Addr, before)
			}
			if target.Weight < 1 || target.Weight > 100 || len(target.Meta) > maxLabels || len(target.Tags) > maxLabels {
				t.Errorf("%s gave %+v", text, target)
			}
			before = target.Addr
		}
	})
}
