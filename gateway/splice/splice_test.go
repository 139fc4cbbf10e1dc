package splice

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type socket struct{ http.ResponseWriter }

func (socket) TakesPipe(int64) bool         { return true }
func (socket) WritePipe(*Pipe) (int, error) { return 0, nil }

type heads struct{ http.ResponseWriter }

func (h heads) BodyWriter() http.ResponseWriter { return h.ResponseWriter }
func (h heads) Unwrap() http.ResponseWriter     { return h.ResponseWriter }

type changer struct{ http.ResponseWriter }

func (c changer) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func TestSinkOf(t *testing.T) {
	for name, tc := range map[string]struct {
		w    http.ResponseWriter
		want bool
	}{
		"a socket":                       {socket{}, true},
		"below writers of heads":         {heads{heads{socket{}}}, true},
		"below one that changes bodies":  {changer{socket{}}, false},
		"further below one that does so": {heads{changer{heads{socket{}}}}, false},
		"nothing below":                  {heads{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := SinkOf(tc.w) != nil; got != tc.want {
				t.Errorf("found %v, want %v", got, tc.want)
			}
		})
	}
}
