package config

import (
	"strings"
	"testing"
)

func TestTLSHosts(t *testing.T) {
	const head = "listeners:\n  w:\n    address: \":1\"\n    tls:\n      certificates: [{cert: a, key: b}]\n"
	for _, one := range []struct{ tls, want string }{
		{"      hosts: [{names: [a.example], min_version: \"1.3\"}]\n", ""},
		{"      hosts: [{names: [A.example., \"*.a.example\"], client: {ca: a.pem}}, {names: [x.a.example], client: {mode: none}}]\n", ""},
		{"      hosts: [{names: [a.example], protocols: [h1]}, {names: [b.example], protocols: [h2]}]\n", ""},
		{"      client: {ca: a.pem}\n      hosts: [{names: [\"*.a.example\"], client: {mode: none}}, {names: [x.a.example]}]\n", ""},
		{"      hosts: [{min_version: \"1.3\"}]\n", `6:15: listeners.w.tls.hosts[0]: "names" is required`},
		{"      hosts: [{names: [], min_version: \"1.3\"}]\n", `6:16: names no host`},
		{"      hosts: [{names: [a.example]}]\n", `6:15: says nothing but names; add client, min_version or protocols, or leave it out`},
		{"      hosts: [{names: [\"*.a.example\"], min_version: \"1.3\"}, {names: [a.example]}]\n", `says nothing but names`},
		{
			"      hosts:\n        - {names: [a.example, b.example], min_version: \"1.3\"}\n        - {names: [B.Example.], protocols: [h1]}\n",
			`8:20: b.example stands here a second time`,
		},
		{"      hosts: [{names: [a.example, a.example], min_version: \"1.3\"}]\n", `6:35: a.example stands here a second time`},
		{"      hosts: [{names: [192.0.2.1], min_version: \"1.3\"}]\n", `6:24: 192.0.2.1 is an address, which no client names in a handshake`},
		{"      hosts: [{names: [\"[2001:db8::1]\"], min_version: \"1.3\"}]\n", `is an address`},
		{"      hosts: [{names: [\"a.example:443\"], min_version: \"1.3\"}]\n", `6:24: "a.example:443" is no host; leave out the port`},
		{"      hosts: [{names: [\"*\"], min_version: \"1.3\"}]\n", `"*" has its * in the wrong place`},
		{"      hosts: [{names: [a.example], min_version: \"1.1\"}]\n", `"1.1" is not known here`},
		{"      hosts: [{names: [a.example], protocols: [h1, h2c]}]\n", `6:52: "h2c" is not known here`},
		{"      hosts: [{names: [a.example], protocols: [h1, h1]}]\n", `6:52: h1 stands here a second time`},
		{"      hosts: [{names: [a.example], protocols: [h1, h2]}]\n    protocols: [h1]\n", `6:52: h2 is not among the protocols of the listener; add it there`},
		{"      hosts: [{names: [a.example], client: {ca: a.pem, mode: none}}]\n", `nobody is asked for a certificate in the mode none; leave ca out`},
		{"      hosts: [{names: [a.example], client: {}}]\n", `"ca" is required to verify certificates with`},
		{"      client: {mode: none}\n", `6:22: the mode none is for hosts of a listener that asks; to ask nobody, leave client out`},
	} {
		_, err := Parse(FilesOf("pithead.yaml", []byte(head+one.tls)))
		switch {
		case one.want == "" && err != nil:
			t.Errorf("%s: %v", one.tls, err)
		case one.want != "" && (err == nil || !strings.Contains(err.Error(), one.want)):
			t.Errorf("%s: %v, want %s", one.tls, err, one.want)
		}
	}
}
