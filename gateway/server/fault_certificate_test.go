package server

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pithead/pithead/test/certtest"
)

// pair is a certificate with its key.
type pair struct{ cert, key []byte }

func localhostPair(t testing.TB, serial int64) pair {
	t.Helper()
	cert, key := certtest.Pair(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
	})
	return pair{cert, key}
}

// write puts a pair where it is looked for, one file after the other as most tools do.
func (p pair) write(dir string) error {
	return errors.Join(os.WriteFile(filepath.Join(dir, "key.pem"), p.key, 0o600), os.WriteFile(filepath.Join(dir, "cert.pem"), p.cert, 0o600))
}

// cheaply leaves out what makes a handshake cost most with the race detector: many of
// them would else measure the machine.
func cheaply(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.X25519} }

// visitors shake hands again and again, until they are told to leave.
type visitors struct {
	stop         chan struct{}
	all          sync.WaitGroup
	done, failed atomic.Int64
	first        atomic.Pointer[error]
}

func (v *visitors) visit(h *house, every time.Duration) {
	v.all.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			_, err := h.handshake(cheaply)
			v.note(err)
			select {
			case <-v.stop:
				return
			case <-tick.C:
			}
		}
	})
}

func (v *visitors) note(err error) {
	v.done.Add(1)
	if err != nil {
		v.failed.Add(1)
		v.first.CompareAndSwap(nil, &err)
	}
}

// presents waits for a certificate in handshakes.
func (h *house) presents(v *visitors, serial int64) error {
	late := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		cs, err := h.handshake(cheaply)
		if v.note(err); err != nil {
			return err
		}
		if cs.PeerCertificates[0].SerialNumber.Int64() == serial {
			return nil
		}
		select {
		case <-tick.C:
		case <-late:
			return fmt.Errorf("certificate %d is presented", cs.PeerCertificates[0].SerialNumber)
		}
	}
}

// TestFault42CertificatesRotate on disk, without anybody asking for a reload, while
// clients go on connecting.
func TestFault42CertificatesRotate(t *testing.T) {
	t.Attr("wants", "1,000 rotations: 0 failed handshakes; the new one served after 2 s at most")
	houses, changes := often(2, 10), often(3, 100)
	v := &visitors{stop: make(chan struct{})}
	took := make([]times, houses)
	var all sync.WaitGroup
	for i := range houses {
		h, dir := secureQuietly(t)
		pairs := make([]pair, changes)
		for n := range pairs {
			pairs[n] = localhostPair(t, int64(n+2))
		}
		v.visit(h, 200*time.Millisecond)
		all.Go(func() {
			for n, p := range pairs {
				begin := time.Now()
				err := p.write(dir)
				if err == nil {
					err = h.presents(v, int64(n+2))
				}
				if err != nil {
					t.Errorf("rotation %d: %v", n+1, err)
					return
				}
				took[i].add(time.Since(begin))
			}
		})
	}
	all.Wait()
	close(v.stop)
	v.all.Wait()
	wantTimely(t, took, houses*changes, within(2*time.Second))
	t.Logf("%d of %d handshakes failed", v.failed.Load(), v.done.Load())
	if v.failed.Load() > 0 {
		t.Errorf("the first that failed: %v", *v.first.Load())
	}
}

// secureQuietly is a house with a certificate, number 1, that waits for quiet files as long
// as one in use does when there is time for that.
func secureQuietly(t *testing.T) (h *house, dir string) {
	t.Helper()
	dir = t.TempDir()
	certify(t, dir, 1)
	h = prepare(t, fmt.Sprintf("access_log: {output: \"off\"}\nreload: {%s}\n"+
		"listeners: {web: {address: \"127.0.0.1:0\", tls: {certificates: [{cert: %[2]s/cert.pem, key: %[2]s/key.pem}]}}}\n"+
		"routes: [{match: {prefix: /}, use: [{respond: {body: hello}}]}]\n", quietly(), dir)+ending, nil)
	h.compile = h.compileReal
	return h.open(), dir
}

// TestFault42BrokenPair: a key that does not fit changes nothing, and what is put right
// comes into use.
func TestFault42BrokenPair(t *testing.T) {
	h, dir := secure(t, say("hello"))
	wrong := map[string]string{"no key": "no key", "another's key": string(localhostPair(t, 9).key)}
	refused := 0
	for name, key := range wrong {
		put(t, filepath.Join(dir, "key.pem"), key)
		refused++
		h.log.wait(t, "configuration refused", refused)
		cs, err := h.handshake(nil)
		if err != nil || cs.PeerCertificates[0].SerialNumber.Int64() != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	certify(t, dir, 2)
	h.log.wait(t, "generation=2 ", 1)
	cs, err := h.handshake(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
	if err != nil || cs.PeerCertificates[0].SerialNumber.Int64() != 2 {
		t.Errorf("when it fits again: %v", err)
	}
}
