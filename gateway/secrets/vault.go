package secrets

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
)

const (
	vaultPrefix    = "vault:"
	maxVaultAnswer = 4 << 20
	firstWait      = 200 * time.Millisecond
)

// vaultClient asks the transit engine of Vault.
type vaultClient struct {
	settings config.Vault
	client   *http.Client
}

var _ gateway.Opener = (*vaultClient)(nil)

// newVault makes a client. Close ends its connections.
func newVault(v config.Vault) (*vaultClient, error) {
	roots := (*x509.CertPool)(nil)
	if v.CA != "" {
		text, err := os.ReadFile(string(v.CA))
		if err != nil {
			return nil, fmt.Errorf("cannot be opened: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("cannot be opened: %s holds no certificate", string(v.CA))
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 5 * time.Second,
	}
	return &vaultClient{settings: v, client: &http.Client{
		Transport: transport, Timeout: v.Timeout,
		// A token that follows a redirect is a token that others get.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (v *vaultClient) close() { v.client.CloseIdleConnections() }

// Open implements gateway.Opener.
func (v *vaultClient) Open(ctx context.Context, sealed string) ([]byte, error) {
	var answer struct {
		Data struct {
			Plaintext []byte `json:"plaintext"` // base64, as encoding/json reads it
		} `json:"data"`
	}
	if err := v.ask(ctx, "decrypt", map[string]any{"ciphertext": sealed}, &answer); err != nil {
		return nil, fmt.Errorf("cannot be opened: %w", err)
	}
	if len(answer.Data.Plaintext) > maxValue {
		return nil, fmt.Errorf("holds more than %d MiB", maxValue>>20)
	}
	return answer.Data.Plaintext, nil
}

// seal lets Vault seal a value.
func (v *vaultClient) seal(ctx context.Context, value []byte) (string, error) {
	var answer struct {
		Data struct {
			Ciphertext string `json:"ciphertext"`
		} `json:"data"`
	}
	if err := v.ask(ctx, "encrypt", map[string]any{"plaintext": base64.StdEncoding.EncodeToString(value)}, &answer); err != nil {
		return "", err
	}
	if !strings.HasPrefix(answer.Data.Ciphertext, vaultPrefix) {
		return "", errors.New("vault has answered without a ciphertext")
	}
	return answer.Data.Ciphertext, nil
}

// ask puts a question until it is answered, or there are no retries left.
func (v *vaultClient) ask(ctx context.Context, verb string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	wait := firstWait
	for left := v.settings.Retries; ; left-- {
		again, err := v.once(ctx, verb, body, answer)
		if err == nil || !again || left == 0 {
			return err
		}
		select {
		case <-time.After(wait):
			wait *= 2
		case <-ctx.Done():
			return err
		}
	}
}

// once puts a question. again says that the same one may be answered later.
func (v *vaultClient) once(ctx context.Context, verb string, body []byte, answer any) (again bool, err error) {
	s := v.settings
	address := strings.TrimSuffix(s.Address, "/") + "/v1/" + strings.Trim(s.Mount, "/") + "/" + verb + "/" + s.Key
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("vault: %w", err)
	}
	token, err := v.token()
	if err != nil {
		return false, err
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Request", "true") // which proxies of Vault insist on, and no web page can send
	r.Header.Set("Content-Type", "application/json")
	if s.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", s.Namespace)
	}
	res, err := v.client.Do(r)
	if err != nil {
		return true, fmt.Errorf("vault cannot be reached: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(res.Body, maxVaultAnswer))
	if err != nil {
		return true, fmt.Errorf("vault has broken off: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return refusedByVault(res.StatusCode)
	}
	if json.Unmarshal(text, answer) != nil {
		return false, errors.New("vault has answered what is no answer of a transit engine")
	}
	return false, nil
}

// refusedByVault says what a status means. The texts of Vault stay out of it: they may
// repeat what they were asked.
func refusedByVault(status int) (again bool, err error) {
	switch {
	case status == http.StatusForbidden:
		return false, errors.New("vault does not allow it (403): the token has expired, or its policy lacks `update` on this key")
	case status == http.StatusBadRequest:
		return false, errors.New("vault cannot open it (400): another key has sealed it, a version below min_decryption_version, or it is damaged")
	case status == http.StatusNotFound:
		return false, errors.New("vault knows no such engine (404): look at address, namespace and mount")
	case status/100 == 3:
		return false, fmt.Errorf("vault has answered with a redirect (%d), which is not followed: give the address of the active node", status)
	case status == http.StatusServiceUnavailable:
		return true, errors.New("vault is sealed or in maintenance (503)")
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return true, fmt.Errorf("vault has failed (%d)", status)
	}
	return false, fmt.Errorf("vault has answered %d", status)
}

func (v *vaultClient) token() (string, error) {
	if v.settings.TokenFile == "" {
		return v.settings.Token.Reveal(), nil
	}
	text, err := os.ReadFile(string(v.settings.TokenFile))
	if err != nil {
		return "", fmt.Errorf("the token of vault: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxFile || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("the token of vault: %s holds none", string(v.settings.TokenFile))
	}
	return token, nil
}
