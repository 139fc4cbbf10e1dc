package build

import (
	"strings"
	"testing"
)

func TestLintUnaskedCertificates(t *testing.T) {
	const head = `        - {names: [admin.example], client: {ca: a.crt}}
  plain: {address: "127.0.0.1:1"}
` + oneUpstream + "middleware: {certs: {mtls: {}}}\nroutes:\n  - {name: r, to: a, use: [certs], match: "
	for match, want := range map[string]string{
		"{prefix: /}":                                      "",
		"{host: admin.example, prefix: /}":                 "",
		"{host: Admin.Example., prefix: /}":                "",
		"{host: \"*.example\", prefix: /}":                 "",
		"{host: www.example, prefix: /}":                   "www.example",
		"{hosts: [admin.example, www.example], prefix: /}": "www.example",
		"{prefix: /, listeners: [plain]}":                  "any host",
		"{host: admin.example, listeners: [plain]}":        "admin.example",
		"{host: admin.example, listeners: [plain, w]}":     "",
	} {
		p := newProcess(t)
		p.pair("a", "", "admin.example", "www.example")
		var got []string
		for _, f := range p.compile(listener("", "a") + "      hosts:\n" + head + match + "}\n").Lint() {
			if f.Rule == LintUnasked {
				got = append(got, f.Error.Error())
			}
		}
		switch {
		case want == "" && got != nil:
			t.Errorf("%s: %s", match, got)
		case want != "" && (len(got) != 1 || !strings.Contains(got[0], "certs is for clients with certificates, and no listener asks clients of "+want+" for one")):
			t.Errorf("%s: %s", match, got)
		}
	}
}
