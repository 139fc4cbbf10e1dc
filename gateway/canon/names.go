package canon

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// What the bytes of a header name say about the name.
const (
	nameBad uint8 = 1 << iota // not in a token (RFC 9110, 5.6.2)
	nameOdd                   // in a token, but neither letter, digit nor dash
	nameLower
	nameUpper

	followLower = nameLower << 4 // a lower-case letter after this byte is not canonical
	followUpper = nameUpper << 4 // an upper-case letter after this byte is not canonical
)

var nameBytes = func() (t [256]uint8) {
	for c := range 256 {
		t[c] = nameBad | followUpper
	}
	for _, c := range []byte("!#$%&'*+.^_`|~") {
		t[c] = nameOdd | followUpper
	}
	for c := range 10 {
		t['0'+c] = followUpper
	}
	for c := range 26 {
		t['a'+c] = nameLower | followUpper
		t['A'+c] = nameUpper | followUpper
	}
	t['-'] = followLower
	return t
}()

// canonicalName says whether name has only letters, digits and dashes and is
// spelled as http.CanonicalHeaderKey would.
func canonicalName(name string) bool {
	wrong, follow := uint8(0), nameLower
	for i := range len(name) {
		b := nameBytes[name[i]]
		wrong |= b & (nameBad | nameOdd | follow)
		follow = b >> 4
	}
	return wrong == 0 && name != ""
}

// trait is what the gateway knows and does about a header.
type trait uint32

const (
	known    trait = 1 << iota // somebody decides on it: an alias of it is refused
	strip                      // never passes from outside
	believed                   // passes from a trusted peer
	single                     // two lines of it are refused
	framing                    // naming it in Connection does nothing
	hop                        // naming it in Connection is normal
	never                      // net/http takes it out of the map, and so must any other engine
	kept                       // an odd name that the operator lets pass

	// Headers with rules of their own.
	connection
	cookie
	expect
	hostLine
	length
	requestID
	te
	trace
	upgrade
)

// special are the traits that need a second look.
const special = never | connection | cookie | expect | hostLine | length | requestID | te | trace | upgrade

var wellKnown = map[trait][]string{
	// Who the client is and what it asked for is the gateway's to say: of the
	// forwarding family only three are believed, and only from trusted peers, since
	// the others could contradict them (CVE-2026-54764). Proxy becomes the
	// proxy of CGI programs (CVE-2016-5386).
	known | strip: {
		"Forwarded", "Proxy", "X-Forwarded", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override",
		"X-Real-Ip", "X-Rewrite-Url",
	},
	known | strip | believed: {"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"},
	known | strip | hop:      {"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Http2-Settings"},

	known | single: {
		"Authorization", "Content-Type", "Content-Range", "From", "If-Modified-Since", "If-Range", "If-Unmodified-Since",
		"Max-Forwards", "Origin", "Range", "Referer", "Sec-Websocket-Key", "Sec-Websocket-Version", "User-Agent",
	},
	known | framing | strip:             {"Trailer"},
	known | framing | single | length:   {"Content-Length"},
	known | framing | single | hostLine: {"Host"},
	known | framing | never:             {"Transfer-Encoding"},
	known | cookie:                      {"Cookie"},
	known | connection | hop:            {"Connection"},
	known | upgrade | hop:               {"Upgrade"},
	known | te | hop:                    {"Te"},
	known | single | expect:             {"Expect"},
	known | requestID:                   {"X-Request-Id"},
	known | trace:                       {"Traceparent", "Tracestate"},
}

// commonNames are listed only to be found quickly.
var commonNames = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding", "Dnt",
	"Grpc-Accept-Encoding", "Grpc-Timeout", "Idempotency-Key", "If-Match", "If-None-Match", "Pragma", "Priority",
	"Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site",
	"Sec-Fetch-User", "Upgrade-Insecure-Requests", "Via", "X-Api-Key", "X-Canary",
	"X-Requested-With",
}

// nameTable tells the traits of headers by their names. It is a hash table with
// open addressing, because hashing a whole name costs more than comparing it.
type nameTable struct {
	slots []nameSlot // a power of two of them, most of them empty
}

type nameSlot struct {
	name   string
	traits trait
}

func newNameTable(owned, keep []string) nameTable {
	all := make(map[string]trait)
	for _, name := range commonNames {
		all[name] = 0
	}
	for traits, names := range wellKnown {
		for _, name := range names {
			all[name] = traits
		}
	}
	for _, name := range owned {
		if name = foldName(name); name != "" {
			all[name] = all[name]&^believed | known | strip
		}
	}
	t := makeNameTable(all)
	for _, name := range keep {
		if name != "" && t.ofAlias(name)&known == 0 {
			all[http.CanonicalHeaderKey(name)] |= kept
		}
	}
	return makeNameTable(all)
}

func makeNameTable(all map[string]trait) nameTable {
	size := 256
	for size < 3*len(all) {
		size *= 2
	}
	t := nameTable{slots: make([]nameSlot, size)}
	for name, traits := range all {
		i := nameHash(name)
		for t.slots[i&(size-1)].name != "" {
			i++
		}
		t.slots[i&(size-1)] = nameSlot{name, traits}
	}
	return t
}

// nameHash is made from a few bytes, which are enough to tell real names apart,
// and mixed by Fibonacci hashing.
func nameHash(name string) int {
	n := len(name)
	h := uint32(n) ^ uint32(name[0])<<8 ^ uint32(name[n/2])<<16 ^ uint32(name[n-1])<<24
	return int(h * 0x9E3779B1 >> 16)
}

// find returns the traits of a name that is listed.
func (t *nameTable) find(name string) (traits trait, found bool) {
	if name == "" {
		return 0, false
	}
	for i := nameHash(name); ; i++ {
		switch slot := &t.slots[i&(len(t.slots)-1)]; slot.name {
		case name:
			return slot.traits, true
		case "":
			return 0, false
		}
	}
}

// of returns the traits of a canonical name.
func (t *nameTable) of(name string) trait {
	if traits, found := t.find(name); found {
		return traits
	}
	return ofFamily(name)
}

// ofFamily returns the traits of names that are known by their beginning.
func ofFamily(name string) trait {
	if strings.HasPrefix(name, "X-") && (strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "X-Original-")) {
		return known | strip
	}
	return 0
}

// ofAlias returns the traits of the header that name may be taken for.
func (t *nameTable) ofAlias(name string) trait {
	return t.of(foldName(name))
}

// foldName is the canonical name of the header that name may be taken for by a
// server that knows names only as variables: for CGI, WSGI and their heirs
// X_Forwarded_For, X.Forwarded.For and X-Forwarded-For are all the same.
func foldName(name string) string {
	return http.CanonicalHeaderKey(strings.Map(func(c rune) rune {
		if c < utf8.RuneSelf && isAlphaNum(byte(c)) {
			return c
		}
		return '-'
	}, name))
}
