package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func metric(s *script, args []string) (output, error) {
	if len(args) != 2 {
		return output{}, errUsage
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + s.Getenv("ADMIN") + "/metrics")
	if err != nil {
		return output{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return output{}, err
	}
	name, labels, _ := strings.Cut(strings.TrimSuffix(args[0], "}"), "{")
	sum, lines := sumSeries(string(text), name, labels)
	if !holds(sum, args[1]) {
		return output{}, fmt.Errorf("%s is %v, want %s:\n%s", args[0], sum, args[1], lines)
	}
	return output{}, nil
}

// sumSeries adds up the series of a metric that have all of labels, and shows
// all series of the metric.
func sumSeries(text, name, labels string) (sum float64, lines string) {
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		family, has, labelled := strings.Cut(series, "{")
		if !labelled {
			family, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		if family != name {
			continue
		}
		lines += line
		all := true
		for label := range strings.SplitSeq(labels, ",") {
			all = all && strings.Contains(","+has+",", ","+label+",")
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil && (all || labels == "") {
			sum += v
		}
	}
	return sum, lines
}

func holds(got float64, want string) bool {
	bound, err := strconv.ParseFloat(strings.TrimLeft(want, "<>"), 64)
	switch {
	case err != nil:
		return false
	case want[0] == '>':
		return got > bound
	case want[0] == '<':
		return got < bound
	default:
		return got == bound
	}
}

func jsonValue(s *script, args []string) (output, error) {
	if len(args) != 3 {
		return output{}, errUsage
	}
	text, err := s.text(args[2])
	if err != nil {
		return output{}, err
	}
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &value); err != nil {
			return output{}, err
		}
	}
	whole := value
	for key := range strings.SplitSeq(args[0], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(v) {
				return output{}, fmt.Errorf("no %s in %v", args[0], whole)
			}
			value = v[i]
		default:
			return output{}, fmt.Errorf("no %s in %v", args[0], whole)
		}
	}
	if got := fmt.Sprint(value); got != args[1] {
		return output{}, fmt.Errorf("%s is %s, want %s, in %v", args[0], got, args[1], whole)
	}
	return output{}, nil
}

// text is the content of a file, or what the last command wrote.
func (s *script) text(name string) (string, error) {
	if name == "stdout" {
		return s.ReadFile(name), nil
	}
	text, err := os.ReadFile(s.MkAbs(name))
	return string(text), err
}

func certs(s *script, args []string) (output, error) {
	if len(args) < 2 {
		return output{}, errUsage
	}
	dir := s.MkAbs(args[0])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return output{}, err
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := writePair(filepath.Join(dir, "ca"), authority, authority, nil)
	if err != nil {
		return output{}, err
	}
	for _, name := range args[1:] {
		cert := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
			DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if _, err := writePair(filepath.Join(dir, name), cert, authority, authorityKey); err != nil {
			return output{}, err
		}
	}
	return output{}, nil
}

// writePair writes path.pem and path.key. Without a key of the authority the
// certificate signs itself.
func writePair(path string, cert, authority *x509.Certificate, authorityKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if authorityKey == nil {
		authorityKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var certText, keyText bytes.Buffer
	return key, errors.Join(
		pem.Encode(&certText, &pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.Encode(&keyText, &pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		os.WriteFile(path+".pem", certText.Bytes(), 0o600),
		os.WriteFile(path+".key", keyText.Bytes(), 0o600),
	)
}
