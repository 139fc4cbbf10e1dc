package config

import (
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// Secrets says how sealed values are opened. A setting of any file can hold one:
// `${sealed:age:...}` or `${sealed:vault:v1:...}`, as `pithead secret seal` writes them.
// Nothing under `secrets` can be sealed itself.
type Secrets struct {
	// Age opens values that are sealed with age. Default: none.
	Age Age `yaml:"age"`
	// Vault opens values that are sealed by the transit engine of HashiCorp Vault or OpenBao. Default: none.
	Vault Vault `yaml:"vault"`
}

// Age opens values that are sealed with age.
type Age struct {
	// IdentityFile has one or more identities, each in a line, as `pithead secret keygen` writes
	// them; one of them must fit. Nobody but the gateway should be able to read it. It is
	// read again by each reload. Default: none.
	IdentityFile kind.Path `yaml:"identity_file"`
}

// Vault opens values by the transit engine of Vault. A value is sent there once, and
// remembered for as long as the process runs; a reload asks only for those that are new, and needs no
// Vault when there are none.
type Vault struct {
	// Address is `https://` and a host; `http://` only for this machine. Default: none.
	Address string `yaml:"address"`
	// Token is a token of Vault whose policy allows `update` on `MOUNT/decrypt/KEY`. Default: none.
	Token gateway.Secret `yaml:"token"`
	// TokenFile is a file with the token, which is read for each question, so that an agent can renew
	// it; in the place of `token`. Default: none.
	TokenFile kind.Path `yaml:"token_file"`
	// Namespace is sent as X-Vault-Namespace. Default: none.
	Namespace string `yaml:"namespace"`
	// Mount is where the transit engine is. Default: transit.
	Mount string `yaml:"mount"`
	// Key is the name of the key. Required with an address.
	Key string `yaml:"key"`
	// CA is a PEM file with the authorities of Vault's certificate. Default: those of the system.
	CA kind.Path `yaml:"ca"`
	// Timeout bounds each question. Default: 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Retries is how often a question is put again when Vault cannot be reached, is sealed or fails. Default: 2.
	Retries int `yaml:"retries"`
}

// SetDefaults sets the values that the comments of the fields name.
func (v *Vault) SetDefaults() { v.Mount, v.Timeout, v.Retries = "transit", 5*time.Second, 2 }

// Validate refuses settings by which nothing can be opened, or by which anybody on
// the way could.
func (v *Vault) Validate() error {
	var f faults
	if v.Address == "" {
		if v.Token != "" || v.TokenFile != "" || v.Key != "" {
			f.at("", "has no address; write for example https://vault.example.com:8200")
		}
		return f.err()
	}
	u, err := url.Parse(v.Address)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.User != nil || strings.Trim(u.Path, "/") != "":
		f.at("address", "is no address of Vault; write for example https://vault.example.com:8200")
	case u.Scheme == "http" && !gateway.IsLoopback(u.Hostname()):
		f.at("address", "sends the token in the clear; write https")
	}
	switch {
	case v.Key == "":
		f.at("", "names no key of the transit engine")
	case strings.ContainsAny(v.Key, "/?#%"):
		f.at("key", "%q is no name of a key", v.Key)
	}
	if strings.Trim(v.Mount, "/") == "" || strings.ContainsAny(v.Mount, "?#%") {
		f.at("mount", "%q is no path of an engine", v.Mount)
	}
	if (v.Token == "") == (v.TokenFile == "") {
		f.at("", "needs either token or token_file")
	}
	f.time("timeout", v.Timeout, 10*time.Millisecond)
	f.number("retries", v.Retries, 0, 10)
	return f.err()
}
