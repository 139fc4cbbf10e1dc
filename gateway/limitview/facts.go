package limitview

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Facts are what is known of a caller, by the words that keys of limits are made of:
// "client", "subject", "host", "route", "header:NAME", "cookie:NAME", "query:NAME" and
// "claim:NAME".
type Facts map[string]string

// mostFacts is more than a key has parts that matter.
const mostFacts = 32

var (
	plainFacts = []string{"client", "subject", "host", "route"}
	namedFacts = []string{"header", "cookie", "query", "claim"}
)

// ParseFacts reads facts as operators write them: client=203.0.113.7,
// header:x-customer=acme. Of none it makes nil.
func ParseFacts(texts []string) (Facts, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	if len(texts) > mostFacts {
		return nil, fmt.Errorf("at most %d parts of a key", mostFacts)
	}
	facts := make(Facts, len(texts))
	for _, text := range texts {
		word, value, ok := strings.Cut(text, "=")
		from, name, named := strings.Cut(word, ":")
		switch {
		case !ok || value == "",
			named && (name == "" || !slices.Contains(namedFacts, from)),
			!named && !slices.Contains(plainFacts, from):
			// The text is not repeated: it may be somebody's.
			return nil, fmt.Errorf("a part of a key is written client=203.0.113.7; before the equals sign stands client, subject, host, route, header:NAME, cookie:NAME, query:NAME or claim:NAME")
		case from == "header":
			word = from + ":" + http.CanonicalHeaderKey(name)
		case from == "client":
			if _, err := netip.ParseAddr(value); err != nil {
				return nil, fmt.Errorf("a client is an IP address, as 203.0.113.7")
			}
		}
		if facts[word] != "" {
			return nil, fmt.Errorf("%s is there twice", word)
		}
		facts[word] = value
	}
	return facts, nil
}
