package transcode

import "testing"

// A small call takes few allocations: the decoded path's values, and none for the
// message, whose room is given.
func TestRequestAllocations(t *testing.T) {
	base := "/api"
	table, err := Bind(nil, schemaOf(t, library), Options{BasePath: &base})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	body := []byte(`{"name":"shelves/1/books/2"}`)
	n := testing.AllocsPerRun(100, func() {
		call, vars, _ := table.Match("POST", "/api/v1/shelves/1/books/2:fetch")
		msg, err := call.AppendMessage(AppendFrame(buf[:0]), &Request{Vars: vars, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		EndFrame(msg, 0)
		if _, _, err = call.AppendAnswer(buf[:0], msg[FrameHeader:]); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations", n)
	if n > 10 {
		t.Errorf("%.0f allocations for a small call, both ways", n)
	}
}
