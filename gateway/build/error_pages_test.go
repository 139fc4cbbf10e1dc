package build

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Mistakes in the pages of the top level have places, and the file that is
// read is the one beside the configuration.
func TestErrorPagesMistakes(t *testing.T) {
	f := func(name, settings string, want ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			got := newProcess(t).mistakes(oneUpstream + "error_pages: " + settings + "\nroutes: [{match: {prefix: /}, to: a}]\n")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	f("no pages", "{upstream: true}", `3:1: "pages" is required`)
	f("field", `{pages: [{text: "{id}"}]}`, `3:30: {id} is no field of a page; known are {status}, {title}, {reason} and {request_id}, and a word that is to stay in its braces gets a space before it`)
	f("status", `{pages: [{statuses: [99], text: a}]}`, `3:35: "99" is no error status; write for example 503, 502-504 or 5xx`)
	f("file", `{pages: [{text: {file: /none/a.txt}}]}`, `3:37: stat /none/a.txt: no such file or directory`)
}
