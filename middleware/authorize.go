package middleware

import (
	"errors"
	"fmt"
	"net/http"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func init() { kind.Add(Kinds, "authorize", AuthorizeConfig{MaxCost: 100_000}, newAuthorize) }

// authorize is the running middleware. It never changes after newAuthorize.
type authorize struct {
	rules  []compiledRule
	denied *gateway.Error
}

type compiledRule struct {
	authorizeRule
	program cel.Program
	denied  *gateway.Error
}

func newAuthorize(c AuthorizeConfig, _ Env) (gateway.Step, error) {
	m := &authorize{denied: ruleDenies("denied")}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain}
	var errs []error
	identity := false
	for _, rule := range c.all() {
		program, uses, err := compileRule(rule, uint64(c.MaxCost))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		denied := m.denied
		if c.Tell {
			denied = ruleDenies("denied_" + rule.name)
		}
		m.rules = append(m.rules, compiledRule{rule, program, denied})
		identity = identity || uses["subject"] || uses["claims"] || uses["scopes"]
	}
	if identity {
		step.Needs = []gateway.Identity{gateway.Subject}
	}
	return step, errors.Join(errs...)
}

func ruleDenies(reason string) *gateway.Error {
	return &gateway.Error{Status: http.StatusForbidden, Reason: reason, Msg: "the request may not pass", Cause: gateway.CauseClient}
}

func (m *authorize) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := m.decide(r, gateway.ExchangeOf(r)); err != nil {
			gateway.Fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// decide says what becomes of a request, and by which rule; nil is by none.
func (m *authorize) decide(r *http.Request, x *gateway.Exchange) (*compiledRule, *gateway.Error) {
	facts := &requestFacts{r: r, x: x}
	for i := range m.rules {
		rule := &m.rules[i]
		out, _, err := rule.program.Eval(facts)
		if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok {
			return rule, &gateway.Error{
				Status: http.StatusInternalServerError, Reason: "authorize_cost", Msg: "the request cannot be judged",
				Err: fmt.Errorf("rule %s: %w", rule.name, cancelled),
			}
		}
		switch holds := err == nil && out == types.True; {
		case rule.deny && (holds || err != nil):
			return rule, rule.denied
		case !rule.deny && holds:
			return rule, nil
		}
	}
	return nil, m.denied
}

func (m *authorize) explain(r *http.Request, x *gateway.Exchange) string {
	rule, err := m.decide(r, x)
	name := "no rule allows it"
	if rule != nil {
		name = "by the rule " + rule.name
	}
	if err != nil {
		x.Status = err.Status
		return fmt.Sprintf("answers %d (%s): %s", err.Status, err.Reason, name)
	}
	return "passes " + name
}
