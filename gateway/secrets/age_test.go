package secrets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
)

// identityFile writes new identities into a file and returns their recipients.
func identityFile(t *testing.T, n int) (path string, recipients []string) {
	t.Helper()
	var text strings.Builder
	for range n {
		identity, recipient, err := NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(identity.String(), "AGE") {
			t.Error("an identity prints itself")
		}
		text.WriteString("# one of them\n" + identity.Reveal() + "\n")
		recipients = append(recipients, recipient)
	}
	path = filepath.Join(t.TempDir(), "identity.txt")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, recipients
}

func openerOf(path string) gateway.Opener {
	return NewKeeper().Opening(config.Secrets{Age: config.Age{IdentityFile: kind.Path(path)}})
}

// TestAge seals and opens, for several recipients and by several identities: which is
// how identities are rotated.
func TestAge(t *testing.T) {
	path, recipients := identityFile(t, 2)
	stranger, strangers := identityFile(t, 1)
	for _, to := range recipients {
		text, err := SealAge([]byte("s3cret"), to)
		if err != nil {
			t.Fatal(err)
		}
		wantOpened(t, openerOf(path), text, "s3cret")
		wantRefused(t, openerOf(stranger), text, "is not sealed for any identity in "+stranger)
	}
	both, err := SealAge([]byte("s3cret"), "# who\n"+recipients[0]+"\n"+strangers[0])
	if err != nil {
		t.Fatal(err)
	}
	wantOpened(t, openerOf(path), both, "s3cret")
	wantOpened(t, openerOf(stranger), both, "s3cret")
	if _, err := SealAge([]byte("s3cret"), "age1nonsense"); err == nil {
		t.Error("sealed for nonsense")
	}
}

// TestAgeRefused: what is damaged, too large, or cannot be opened by what is there.
func TestAgeRefused(t *testing.T) {
	path, recipients := identityFile(t, 1)
	text, err := SealAge([]byte("s3cret"), recipients[0])
	if err != nil {
		t.Fatal(err)
	}
	large, err := SealAge(make([]byte, maxValue+1), recipients[0])
	if err != nil {
		t.Fatal(err)
	}
	wantRefused(t, openerOf(path), large, "holds more than 1 MiB")
	wantRefused(t, openerOf(path), "age:!", "is no file of age")
	wantRefused(t, openerOf(path), text[:len(text)-24]+"AAAAAAAAAAAAAAAAAAAAAAAA", "is damaged")
	wantRefused(t, openerOf(path), text[:len(text)-40], "is damaged")
	wantRefused(t, openerOf(path), "rot13:frperg", "not known here")
	wantRefused(t, openerOf(""), text, "names no identity_file")
	wantRefused(t, openerOf(path+".missing"), text, "no such file")
	wantRefused(t, openerOf(filepath.Dir(path)), text, "is no file of identities")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, openerOf(path), text, "chmod o-r")
	if err := os.WriteFile(path, []byte("AGE-SECRET-KEY-s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, openerOf(path), text, "holds no identities of age")
}
