package config

import (
	"strings"
	"testing"
)

func TestClientTLS(t *testing.T) {
	const head = "listeners: {w: {address: \":1\", tls: {certificates: [{cert: a, key: b}], client: "
	for client, want := range map[string]string{
		"{}":                              `"ca" is required to verify certificates with`,
		"{ca: [\"\"]}":                    `names no file`,
		"{ca: a.pem, mode: request}":      `no certificate is verified in the mode request; to verify them, write mode: verify_if_given`,
		"{ca: a.pem, mode: verify_maybe}": `"verify_maybe"`,
		"{ca: a.pem}":                     "",
		"{ca: [a.pem, b.pem], mode: verify_if_given}": "",
		"{mode: request}": "",
	} {
		c, err := Parse(FilesOf("pithead.yaml", []byte(head+client+"}}}\n")))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", client, err)
		case want == "" && c.Listeners["w"].TLS.Client.Mode == "":
			t.Errorf("%s: no mode", client)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %s", client, err, want)
		}
	}
}
