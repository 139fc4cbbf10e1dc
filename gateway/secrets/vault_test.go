package secrets

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const vaultToken = "hvs.a-token"

// vault is a transit engine in memory: what it seals it can open, until its key is
// rotated beyond min_decryption_version.
type vault struct {
	mu      sync.Mutex
	token   string
	status  int // of every answer; 0 is as it should be
	fails   int // how many answers come before that are 503
	version int
	least   int
	asked   int
	texts   map[string]string
}

func (v *vault) set(change func(*vault)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vault) questions() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.asked
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked++
	var in struct {
		Plaintext  string `json:"plaintext"`
		Ciphertext string `json:"ciphertext"`
	}
	answer := func(status int, body any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body) // a client that left is its own affair
	}
	refuse := func(status int, text string) { answer(status, map[string]any{"errors": []string{text}}) }
	switch {
	case v.fails > 0:
		v.fails--
		refuse(http.StatusServiceUnavailable, "Vault is sealed")
	case v.status == http.StatusTemporaryRedirect:
		w.Header().Set("Location", "http://127.0.0.1:1/")
		refuse(v.status, "")
	case v.status != 0:
		refuse(v.status, "no, and here is your secret: "+in.Plaintext)
	case r.Method != http.MethodPost || r.Header.Get("X-Vault-Request") != "true" || json.NewDecoder(r.Body).Decode(&in) != nil:
		refuse(http.StatusBadRequest, "bad request")
	case r.Header.Get("X-Vault-Token") != v.token || r.Header.Get("X-Vault-Namespace") != "edge":
		refuse(http.StatusForbidden, "permission denied")
	case r.URL.Path == "/v1/team/transit/encrypt/gateway":
		text := fmt.Sprintf("vault:v%d:%s", v.version, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "nonce-of-12b%04d-tag-of-16-bytes", len(v.texts))))
		v.texts[text] = in.Plaintext
		answer(http.StatusOK, map[string]any{"data": map[string]any{"ciphertext": text, "key_version": v.version}})
	case r.URL.Path == "/v1/team/transit/decrypt/gateway":
		plain, known := v.texts[in.Ciphertext]
		version := 0
		_, _ = fmt.Sscanf(in.Ciphertext, "vault:v%d:", &version) // 0 is too old as well
		if !known || version < v.least {
			refuse(http.StatusBadRequest, "ciphertext or signature version is disallowed by policy (too old)")
			return
		}
		answer(http.StatusOK, map[string]any{"data": map[string]any{"plaintext": plain}})
	default:
		refuse(http.StatusNotFound, "no handler for route")
	}
}

// startVault serves a Vault by TLS and returns the settings for it.
func startVault(t *testing.T) (*vault, config.Vault) {
	t.Helper()
	v := &vault{token: vaultToken, version: 1, texts: make(map[string]string)}
	s := httptest.NewTLSServer(v)
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return v, config.Vault{
		Address: s.URL, Token: vaultToken, Namespace: "edge", Mount: "team/transit", Key: "gateway", CA: kind.Path(ca), Timeout: 5 * time.Second,
	}
}

func sealed(t *testing.T, settings config.Vault, value string) string {
	t.Helper()
	text, err := SealVault(t.Context(), settings, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wantOpened(t *testing.T, o gateway.Opener, text, want string) {
	t.Helper()
	if plain, err := o.Open(t.Context(), text); string(plain) != want || err != nil {
		t.Errorf("got %q, %v; want %q", plain, err, want)
	}
}

func wantRefused(t *testing.T, o gateway.Opener, text, want string) {
	t.Helper()
	plain, err := o.Open(t.Context(), text)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, %v; want %q", plain, err, want)
	} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), vaultToken) {
		t.Errorf("%v tells a secret", err)
	}
}

// TestVaultKeeps: what has been opened is not asked for again, so that reloads need
// no Vault for what is as it was.
func TestVaultKeeps(t *testing.T) {
	v, settings := startVault(t)
	one, two := sealed(t, settings, "s3cret-one"), sealed(t, settings, "s3cret-two")
	keeper := NewKeeper()
	o := keeper.Opening(config.Secrets{Vault: settings})
	before := v.questions()
	wantOpened(t, o, one, "s3cret-one")
	wantOpened(t, o, one, "s3cret-one")
	if n := v.questions() - before; n != 1 {
		t.Errorf("%d questions for one value", n)
	}
	v.set(func(v *vault) { v.status = http.StatusServiceUnavailable })
	again := keeper.Opening(config.Secrets{Vault: settings})
	wantOpened(t, again, one, "s3cret-one")
	wantRefused(t, again, two, "vault is sealed or in maintenance (503)")
	other := settings
	other.Key = "another"
	wantRefused(t, keeper.Opening(config.Secrets{Vault: other}), one, "503") // it is another key that must open it
	wantRefused(t, NewKeeper().Opening(config.Secrets{Vault: settings}), one, "503")
}

// TestVaultRotation: values of older versions of a key open until they are too old.
func TestVaultRotation(t *testing.T) {
	v, settings := startVault(t)
	old := sealed(t, settings, "s3cret-old")
	v.set(func(v *vault) { v.version = 2 })
	fresh := sealed(t, settings, "s3cret-new")
	o := NewKeeper().Opening(config.Secrets{Vault: settings})
	wantOpened(t, o, old, "s3cret-old")
	wantOpened(t, o, fresh, "s3cret-new")
	v.set(func(v *vault) { v.least = 2 })
	wantRefused(t, NewKeeper().Opening(config.Secrets{Vault: settings}), old, "min_decryption_version")
}

// TestVaultToken: a token from a file is the one that is there at the moment.
func TestVaultToken(t *testing.T) {
	v, settings := startVault(t)
	one, two := sealed(t, settings, "s3cret-one"), sealed(t, settings, "s3cret-two")
	path := filepath.Join(t.TempDir(), "token")
	put := func(token string) {
		if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings.Token, settings.TokenFile = "", kind.Path(path)
	o := NewKeeper().Opening(config.Secrets{Vault: settings})
	wantRefused(t, o, one, "no such file")
	put(" \n")
	wantRefused(t, o, one, "holds none")
	put(vaultToken + "\n")
	wantOpened(t, o, one, "s3cret-one")
	v.set(func(v *vault) { v.token = "hvs.another" })
	wantRefused(t, o, two, "vault does not allow it (403)")
	put("hvs.another")
	wantOpened(t, o, two, "s3cret-two")
}

// TestVaultRefusals: each status has its own words, and what may pass is tried again.
func TestVaultRefusals(t *testing.T) {
	v, settings := startVault(t)
	settings.Retries = 1
	text := sealed(t, settings, "s3cret")
	for status, want := range map[int]string{
		http.StatusForbidden:           "(403)",
		http.StatusBadRequest:          "(400)",
		http.StatusNotFound:            "(404)",
		http.StatusTemporaryRedirect:   "redirect (307)",
		http.StatusTeapot:              "answered 418",
		http.StatusInternalServerError: "failed (500)",
		http.StatusServiceUnavailable:  "(503)",
	} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			v.set(func(v *vault) { v.status = status })
			before := v.questions()
			wantRefused(t, NewKeeper().Opening(config.Secrets{Vault: settings}), text, want)
			tries := 1
			if status >= 500 {
				tries = 2
			}
			if n := v.questions() - before; n != tries {
				t.Errorf("%d questions, want %d", n, tries)
			}
		})
	}
	v.set(func(v *vault) { v.status, v.fails = 0, 1 })
	wantOpened(t, NewKeeper().Opening(config.Secrets{Vault: settings}), text, "s3cret")
}

// TestVaultAway: nobody there, somebody else's certificate, and a caller that gives up.
func TestVaultAway(t *testing.T) {
	v, settings := startVault(t)
	text := sealed(t, settings, "s3cret")
	open := func(change func(*config.Vault)) gateway.Opener {
		s := settings
		change(&s)
		return NewKeeper().Opening(config.Secrets{Vault: s})
	}
	wantRefused(t, open(func(s *config.Vault) { s.Address = "http://127.0.0.1:1" }), text, "cannot be reached")
	wantRefused(t, open(func(s *config.Vault) { s.CA = "" }), text, "certificate")
	wantRefused(t, open(func(s *config.Vault) { s.CA = "missing.pem" }), text, "no such file")
	wantRefused(t, open(func(s *config.Vault) { s.Address = "" }), text, "names no vault")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v.set(func(v *vault) { v.status = http.StatusServiceUnavailable })
	if _, err := open(func(s *config.Vault) { s.Retries = 10 }).Open(ctx, text); err == nil {
		t.Error("opened for a caller that is gone")
	}
}
