package main

import (
	"io"
	"strings"
	"testing"
)

func TestFaultsAreTold(t *testing.T) {
	const run = `{"Action":"run","Package":"github.com/pithead/pithead/gateway/server","Test":"TestFault1"}
{"Action":"attr","Package":"github.com/pithead/pithead/gateway/server","Test":"TestFault1","Key":"wants","Value":"0 of 100 | none"}
{"Action":"output","Package":"github.com/pithead/pithead/gateway/server","Test":"TestFault1/part","Output":"    fault_test.go:12: 100 requests | 0 failed\n"}
{"Action":"pass","Package":"github.com/pithead/pithead/gateway/server","Test":"TestFault1/part","Elapsed":1}
{"Action":"pass","Package":"github.com/pithead/pithead/gateway/server","Test":"TestFault1","Elapsed":1.5}
not an event
{"Action":"output","Package":"github.com/pithead/pithead/middleware","Test":"TestFault2","Output":"--- FAIL: TestFault2\n"}
{"Action":"fail","Package":"github.com/pithead/pithead/middleware","Test":"TestFault2","Elapsed":0.2}
{"Action":"attr","Package":"github.com/pithead/pithead/middleware","Test":"TestFlood","Key":"row","Value":"K12"}
{"Action":"pass","Package":"github.com/pithead/pithead/middleware","Test":"TestFlood","Elapsed":0.2}
{"Action":"fail","Package":"github.com/pithead/pithead/middleware","Elapsed":0.3}
{"Action":"fail","Package":"github.com/pithead/pithead/broken","Elapsed":0}
{"Action":"pass","Package":"github.com/pithead/pithead/leaks","Test":"TestFault3","Elapsed":0.5}
{"Action":"fail","Package":"github.com/pithead/pithead/leaks","Elapsed":0.5}
`
	runs, err := readRuns(strings.NewReader(run), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	writeRuns(&table, runs)
	for _, line := range []string{
		"- 3 of 6 passed, in 2s.\n",
		"- `TestFault2` in `middleware`: **fail**\n",
		"|---|\n| fault 1 | 0 of 100 \\| none | `gateway/server` `TestFault1` | pass | 1.5 | part: 100 requests \\| 0 failed |\n" +
			"| fault 2 |  | `middleware` `TestFault2` | **fail** | 0.2 |  |\n",
		"| K12 |  | `middleware` `TestFlood` | pass | 0.2 |  |\n",
		"|  |  | `broken` `(the package)` | **fail** | 0.0 |  |\n",
		"|  |  | `leaks` `(the package)` | **fail** | 0.0 |  |\n",
	} {
		if !strings.Contains(table.String(), line) {
			t.Errorf("%q is missing in\n%s", line, table.String())
		}
	}
	if err := failedRuns(runs); err == nil || strings.Contains(err.Error(), "TestFault1") || !strings.Contains(err.Error(), "middleware TestFault2: fail") {
		t.Errorf("the failures are %v", err)
	}
}
