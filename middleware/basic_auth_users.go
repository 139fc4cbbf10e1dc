package middleware

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// user is a name with the hash of the password.
type user struct {
	name string
	hash passwordHash
	text string // the hash as it was written
}

// userTable finds users by name. It never changes.
type userTable struct {
	byName map[string]*user
	all    []*user
	seed   maphash.Seed
}

// find returns the user of a name; for a name that is not known, a user whose hash
// is as dear as one that the name might have had, always the same.
func (t *userTable) find(name []byte) (u *user, known bool) {
	if u, known = t.byName[string(name)]; !known {
		u = t.all[maphash.Bytes(t.seed, name)%uint64(len(t.all))]
	}
	return u, known
}

// newUserTable makes the table of the users of a block and of a file, "" for none.
func newUserTable(users map[string]gateway.Secret, file string, text []byte) (*userTable, error) {
	t := &userTable{byName: make(map[string]*user), seed: maphash.MakeSeed()}
	var errs []error
	for _, name := range sortedKeys(users) {
		if err := t.add(name, users[name].Reveal()); err != nil {
			errs = append(errs, kind.At("users."+name, "%w", err))
		}
	}
	errs = append(errs, eachAccount(file, text, func(line []byte) error {
		name, hash, ok := strings.Cut(string(line), ":")
		if !ok {
			return errors.New("want name:hash")
		}
		return t.add(name, hash)
	})...)
	if len(errs) == 0 && len(t.all) == 0 {
		errs = append(errs, kind.At("file", "%s holds no user", file))
	}
	return t, errors.Join(errs...)
}

func (t *userTable) add(name, hash string) error {
	if err := validateUser(name); err != nil {
		return err
	}
	if t.byName[name] != nil {
		return fmt.Errorf("%s stands here a second time", name)
	}
	h, err := parsePasswordHash(hash)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	u := &user{name: name, hash: h, text: hash}
	t.byName[name] = u
	t.all = append(t.all, u)
	return nil
}

// passwordHash is what is kept of a password.
type passwordHash interface {
	fits(password []byte) bool
	cores() int // that are busy while it finds out
}

// Errors of hashes do not repeat them, nor what may be a password in their place.
var (
	errWeakHash = errors.New("is no bcrypt or Argon2id hash; make one with: htpasswd -nB -C 12 NAME")
	errBcrypt   = errors.New("is no whole bcrypt hash; it has 60 characters, as in $2b$12$ and 53 more")
	errArgon    = errors.New("is no whole Argon2id hash; it reads $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH, with salt and hash in base64 without =")
)

func parsePasswordHash(text string) (passwordHash, error) {
	switch {
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(text)
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	case strings.HasPrefix(text, "$2x$"):
		return nil, errors.New("$2x$ marks hashes of a broken bcrypt, which many passwords fit; set the password again")
	case strings.HasPrefix(text, "$apr1$"), strings.HasPrefix(text, "$1$"):
		return nil, errors.New("is an MD5 hash, which is guessed by the billion; make one with: htpasswd -nB -C 12 NAME")
	case strings.HasPrefix(text, "{SHA}"):
		return nil, errors.New("is a SHA-1 hash without a salt, which is guessed by the billion; make one with: htpasswd -nB -C 12 NAME")
	}
	return nil, errWeakHash
}

// The cheapest bcrypt hashes are those of htpasswd without -C. Beyond the dearest
// ones a single guess takes a core for seconds.
const (
	minBcryptCost = 5
	maxBcryptCost = 14
	maxBcrypt     = 72 // bytes of a password that count
)

type bcryptHash []byte

var bcryptForm = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func parseBcrypt(text string) (passwordHash, error) {
	cost, err := bcrypt.Cost([]byte(text))
	switch {
	case err != nil || !bcryptForm.MatchString(text):
		return nil, errBcrypt
	case cost < minBcryptCost || cost > maxBcryptCost:
		return nil, fmt.Errorf("the cost of the bcrypt hash is %d; it must be from %d to %d, and 10 to 12 is usual", cost, minBcryptCost, maxBcryptCost)
	}
	return bcryptHash(text), nil
}

// fits does the same work for a password that is too long.
func (h bcryptHash) fits(password []byte) bool {
	err := bcrypt.CompareHashAndPassword(h, password[:min(len(password), maxBcrypt)])
	return err == nil && len(password) <= maxBcrypt
}

func (h bcryptHash) cores() int { return 1 }

type argonHash struct {
	memory  uint32 // KiB
	passes  uint32
	lanes   uint8
	salt    []byte
	derived []byte
}

// A single guess may take this much: 256 MiB, or 1 GiB in all passes together.
const (
	maxArgonMemory = 256 << 10
	maxArgonWork   = 1 << 20
	maxArgonLanes  = 16
)

var argonForm = regexp.MustCompile(`^\$argon2id\$v=19\$m=([1-9][0-9]{0,6}),t=([1-9][0-9]{0,3}),p=([1-9][0-9]?)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

func parseArgon(text string) (passwordHash, error) {
	part := argonForm.FindStringSubmatch(text)
	if part == nil {
		return nil, errArgon
	}
	var number [3]int
	for i := range number {
		number[i], _ = strconv.Atoi(part[i+1]) // digits, and few
	}
	memory, passes, lanes := number[0], number[1], number[2]
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(part[4])
	derived, err2 := base64.RawStdEncoding.Strict().DecodeString(part[5])
	switch {
	case err1 != nil || err2 != nil:
		return nil, errArgon
	case len(salt) < 8 || len(salt) > 64 || len(derived) < 16 || len(derived) > 64:
		return nil, errors.New("the salt of an Argon2id hash has 8 to 64 bytes, the hash itself 16 to 64")
	case lanes > maxArgonLanes || memory < 8*lanes || memory > maxArgonMemory || memory*passes > maxArgonWork:
		return nil, fmt.Errorf("Argon2id may take p=%d at most, m from 8 for each p to %d, and m times t to %d", maxArgonLanes, maxArgonMemory, maxArgonWork)
	}
	return &argonHash{memory: uint32(memory), passes: uint32(passes), lanes: uint8(lanes), salt: salt, derived: derived}, nil
}

func (h *argonHash) fits(password []byte) bool {
	derived := argon2.IDKey(password, h.salt, h.passes, h.memory, h.lanes, uint32(len(h.derived)))
	return subtle.ConstantTimeCompare(derived, h.derived) == 1
}

func (h *argonHash) cores() int { return int(h.lanes) }

// newSecretKey is a key that no other process has.
func newSecretKey() (key [32]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}
