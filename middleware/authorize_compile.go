package middleware

import (
	"net/netip"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/pithead/pithead/gateway/kind"
)

const maxRule = 16 << 10 // characters of an expression

// ruleVars are the facts that rules can see.
var ruleVars = map[string]*cel.Type{
	"subject": cel.StringType, "claims": cel.MapType(cel.StringType, cel.DynType), "scopes": cel.ListType(cel.StringType),
	"method": cel.StringType, "path": cel.StringType, "host": cel.StringType, "client": cel.StringType, "scheme": cel.StringType,
	"route": cel.StringType, "headers": cel.MapType(cel.StringType, cel.StringType),
	"query":   cel.MapType(cel.StringType, cel.ListType(cel.StringType)),
	"tls.dns": cel.ListType(cel.StringType), "tls.uris": cel.ListType(cel.StringType), "tls.emails": cel.ListType(cel.StringType),
}

// ruleEnv is what all rules are compiled in. It takes a while to make.
var ruleEnv = sync.OnceValues(func() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(maxRule), cel.ParserRecursionLimit(50), cel.RegexProgramSizeLimit(1000),
		cel.Function("in_cidr", cel.MemberOverload("string_in_cidr", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(inCIDR))),
	}
	for _, name := range sortedKeys(ruleVars) {
		options = append(options, cel.Variable(name, ruleVars[name]))
	}
	return cel.NewEnv(options...)
})

func inCIDR(address, network ref.Val) ref.Val {
	a, isText := address.(types.String)
	n, isTextToo := network.(types.String)
	if !isText || !isTextToo {
		return types.MaybeNoSuchOverloadErr(network)
	}
	addr, err := netip.ParseAddr(string(a))
	if err != nil {
		return types.False // a client on a Unix socket has none
	}
	prefix, err := netip.ParsePrefix(string(n))
	if err != nil {
		return types.WrapErr(err)
	}
	return types.Bool(prefix.Contains(addr.Unmap()))
}

// compileRule compiles and checks a rule. uses are the variables that it reads.
func compileRule(rule authorizeRule, maxCost uint64) (cel.Program, map[string]bool, error) {
	env, err := ruleEnv()
	if err != nil {
		return nil, nil, kind.At("", "%w", err)
	}
	checked, issues := env.Compile(rule.text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, nil, kind.In(rule.at, first.Location.Line(), first.Location.Column()+1, "%s", first.Message)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, nil, kind.At(rule.at, "is a %s and must be true or false", checked.OutputType())
	}
	uses := make(map[string]bool)
	for _, reference := range checked.NativeRep().ReferenceMap() {
		uses[reference.Name] = true
	}
	if err := checkNetworks(rule, checked.NativeRep()); err != nil {
		return nil, nil, err
	}
	estimate, err := env.EstimateCost(checked, factSizes{})
	switch {
	case err != nil:
		return nil, nil, kind.At(rule.at, "%w", err)
	case estimate.Max > maxCost:
		return nil, nil, kind.At(rule.at, "may cost %d for one request, more than the %d of max_cost", estimate.Max, maxCost)
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	if err != nil {
		return nil, nil, kind.At(rule.at, "%w", err)
	}
	return program, uses, nil
}

// checkNetworks checks the networks that stand in a rule as they are.
func checkNetworks(rule authorizeRule, tree *ast.AST) (err error) {
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil || e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "in_cidr" {
			return
		}
		network := e.AsCall().Args()[0]
		text, isText := "", false
		if network.Kind() == ast.LiteralKind {
			text, isText = network.AsLiteral().Value().(string)
		}
		if !isText {
			return
		}
		at := tree.SourceInfo().GetStartLocation(network.ID())
		prefix, bad := netip.ParsePrefix(text)
		switch {
		case bad != nil:
			err = kind.In(rule.at, at.Line(), at.Column()+1, "%q is no network such as 10.0.0.0/8", text)
		case prefix.Addr().Is4In6():
			err = kind.In(rule.at, at.Line(), at.Column()+1, "%q is IPv4 in IPv6 form; write it as IPv4", text)
		}
	}))
	return err
}

// factSizes are how large the facts of a request can be: the default limits of
// a listener, and of a token what fits in its head.
type factSizes struct{}

// EstimateCallCost implements cost.Estimator.
func (factSizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// EstimateSize implements cost.Estimator.
func (factSizes) EstimateSize(element cost.AstNode) *cost.SizeEstimate {
	path := element.Path()
	if len(path) == 0 {
		return nil
	}
	size := cost.SizeEstimate{Max: 256} // of names, of lists, and of what is in lists
	if len(path) == 1 {
		switch path[0] {
		case "path", "subject":
			size.Max = 8 << 10
		}
	} else if path[0] == "headers" && path[1] == "@values" {
		size.Max = 16 << 10
	}
	return &size
}
