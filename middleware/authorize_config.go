package middleware

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pithead/pithead/gateway/kind"
)

// AuthorizeConfig decides over each request by rules in CEL, the Common Expression
// Language (https://cel.dev). The first rule that holds decides, and a request for
// which none does gets a 403. Rules are compiled and type-checked when the configuration is.
//
//	authorize:
//	  rules:
//	    - {name: inside, deny: '!client.in_cidr("10.0.0.0/8") && path.startsWith("/internal/")'}
//	    - {name: readers, allow: 'method in ["GET", "HEAD"] && "x-tenant" in headers'}
//
// What rules can see: `subject`; `claims`, what a token says, by name; `scopes`, the list in its
// scope or scp; `method`; `path`, decoded, as upstreams get it; `host` without port; `headers`, by
// name in lower case, several lines of one joined by commas; `query`, lists by name; `client`, an
// address, with `client.in_cidr("10.0.0.0/8")`; `scheme`; `route`; and of a verified client
// certificate the lists `tls.dns`, `tls.uris` and `tls.emails`. They see a request as it is at
// this place in `use`. Rules about subject, claims or scopes need something before them in
// `use` that proves the subject.
//
// A rule that fails, by reading a claim that is not there for example, does not allow, and denies:
// ask first with `"role" in claims` or `has(claims.role)`. One whose evaluation
// costs more than max_cost ends in a 500, and nothing passes.
type AuthorizeConfig struct {
	// Allow is the one rule, in place of a list: everything else is refused.
	Allow string `yaml:"allow"`
	// Rules are several, in order.
	Rules []AuthorizeRule `yaml:"rules"`
	// Tell has the answer, the log and the metrics name the rule that has denied, as the
	// reason `denied_` and its name. Default: false, and the reason is `denied`.
	Tell bool `yaml:"tell"`
	// MaxCost bounds the work of each rule in units of CEL, of which one is about a
	// comparison, and ten characters of text cost one. A rule that could cost more
	// for a request with the largest head is refused by `check`. Default: 100000.
	MaxCost int `yaml:"max_cost"`
}

// AuthorizeRule allows or denies.
type AuthorizeRule struct {
	// Name is for `pithead explain` and for `tell`: a word of small letters, digits and
	// underscores. Required.
	Name string `yaml:"name,required"`
	// Allow lets pass what it holds for. A rule has either allow or deny. Default: none.
	Allow string `yaml:"allow"`
	// Deny refuses what it holds for. Default: none.
	Deny string `yaml:"deny"`
}

// authorizeRule is a rule wherever it stands in the settings.
type authorizeRule struct {
	name, text, at string
	deny           bool
}

func (c AuthorizeConfig) all() (rules []authorizeRule) {
	if c.Allow != "" {
		rules = append(rules, authorizeRule{name: "allow", text: c.Allow, at: "allow"})
	}
	for i, r := range c.Rules {
		at := fmt.Sprintf("rules[%d].", i)
		if r.Deny != "" {
			rules = append(rules, authorizeRule{r.Name, r.Deny, at + "deny", true})
		} else {
			rules = append(rules, authorizeRule{r.Name, r.Allow, at + "allow", false})
		}
	}
	return rules
}

// Validate checks the form of the rules. What they say is checked when they are built.
func (c AuthorizeConfig) Validate() error {
	var errs []error
	switch {
	case c.Allow == "" && len(c.Rules) == 0:
		errs = append(errs, kind.At("", "nobody would get through; give allow, or a list of rules"))
	case c.Allow != "" && len(c.Rules) > 0:
		errs = append(errs, kind.At("allow", "there are rules beside it; make it one of them"))
	}
	seen := make(map[string]bool)
	for i, r := range c.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		if (r.Allow == "") == (r.Deny == "") {
			errs = append(errs, kind.At(at, "a rule has either allow or deny"))
		}
		switch {
		case r.Name == "" || len(r.Name) > 40 || strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
			errs = append(errs, kind.At(at+".name", "%q is no name of small letters, digits and underscores", r.Name))
		case seen[r.Name]:
			errs = append(errs, kind.At(at+".name", "there is a rule %s already", r.Name))
		}
		seen[r.Name] = true
	}
	if c.MaxCost < 1 || c.MaxCost > 10_000_000 {
		errs = append(errs, kind.At("max_cost", "is not from 1 to 10000000"))
	}
	return errors.Join(errs...)
}
