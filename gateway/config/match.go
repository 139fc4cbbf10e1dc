package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

const (
	maxPattern = 1 << 10 // bytes of a regular expression
	maxProgram = 10_000  // its steps when compiled: (a{100}){100} is short and still too much
)

var (
	tokenForm  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
	methodForm = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Z-]+$")
	hostLabel  = `[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?`
	hostForm   = regexp.MustCompile(`^(\*\.)?(` + hostLabel + `\.)*` + hostLabel + `\.?$`)
)

// Validate checks each condition by itself.
func (m *Match) Validate() error {
	var f faults
	if m.Host != "" {
		if err := checkHost(m.Host); err != nil {
			f.at("host", "%w", err)
		}
	}
	for i, host := range m.Hosts {
		if err := checkHost(host); err != nil {
			f.at("hosts["+strconv.Itoa(i)+"]", "%w", err)
		}
	}
	m.validatePath(&f)
	for i, method := range m.Methods {
		path := "methods[" + strconv.Itoa(i) + "]"
		switch {
		case tokenForm.MatchString(method) && !methodForm.MatchString(method):
			f.at(path, "methods are written in capitals: %s", strings.ToUpper(method))
		case !methodForm.MatchString(method):
			f.at(path, "%q is no method", method)
		case method == "CONNECT":
			f.at(path, "CONNECT is never passed on")
		case slices.Contains(m.Methods[:i], method):
			f.at(path, "%s stands here a second time", method)
		}
	}
	for name := range m.Headers {
		if !tokenForm.MatchString(name) {
			f.at("headers."+name, "%q is no name of a header", name)
		}
	}
	return f.err()
}

func (m *Match) validatePath(f *faults) {
	var given []string
	for _, one := range []struct{ name, value string }{{"path", m.Path}, {"prefix", m.Prefix}, {"path_regex", m.PathRegex}} {
		if one.value != "" {
			given = append(given, one.name)
		}
	}
	switch {
	case m.GRPC != nil && len(given) > 0:
		f.at("grpc", "give either grpc or %s", given[0])
	case m.GRPC != nil && len(m.Methods) > 0:
		f.at("methods", "calls of gRPC are POST; leave methods out")
	case len(given) > 1:
		f.at("", "give only one of path, prefix and path_regex, not %s", strings.Join(given, " and "))
	}
	if len(given) != 1 {
		return
	}
	switch given[0] {
	case "path":
		if err := checkTemplate(m.Path); err != nil {
			f.at("path", "%w", err)
		}
	case "prefix":
		if err := checkPath(m.Prefix); err != nil {
			f.at("prefix", "%w", err)
		} else if strings.ContainsAny(m.Prefix, "{}") {
			f.at("prefix", "a prefix has no {parameters}; use path or path_regex")
		}
	case "path_regex":
		if err := checkPattern(m.PathRegex); err != nil {
			f.at("path_regex", "%w", err)
		}
	}
}

// checkPath refuses paths that no canonical path is ever equal to.
func checkPath(path string) error {
	switch {
	case !strings.HasPrefix(path, "/"):
		return fmt.Errorf("%q does not begin with a slash", path)
	case strings.ContainsAny(path, "?#"):
		return fmt.Errorf("%q holds a ? or #; queries are matched by query", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '\\' || r == 0x7F }):
		return fmt.Errorf("%q holds a character that no path has", path)
	case strings.Contains(path, "//"):
		return fmt.Errorf("%q holds an empty segment; requests are matched with slashes merged", path)
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("%q holds a dot segment; requests are matched without any", path)
		}
	}
	return nil
}

// checkTemplate checks a path with {parameters}, each of which may have a
// pattern of its own: {id:[0-9]+}.
func checkTemplate(path string) error {
	literal, params, err := splitTemplate(path)
	if err != nil {
		return err
	}
	if err := checkPath(literal); err != nil {
		return err
	}
	var names []string
	for _, param := range params {
		name, pattern, given := strings.Cut(param, ":")
		switch {
		case !variableName(name):
			return fmt.Errorf("{%s} is no parameter; its name is made of letters, digits and _", param)
		case slices.Contains(names, name):
			return fmt.Errorf("{%s} stands in the path twice", name)
		case given && pattern == "":
			return fmt.Errorf("{%s} has an empty pattern", param)
		case strings.Contains(pattern, "/"):
			return fmt.Errorf("{%s} is one segment, its pattern has no slash", param)
		}
		if err := checkPattern(pattern); err != nil {
			return fmt.Errorf("{%s}: %w", name, err)
		}
		names = append(names, name)
	}
	return nil
}

// splitTemplate takes the parameters out of a path and leaves {} in their places.
func splitTemplate(path string) (literal string, params []string, err error) {
	var out strings.Builder
	level, start := 0, 0
	for i := range len(path) {
		switch {
		case path[i] == '{':
			if level++; level == 1 {
				start = i + 1
			}
		case path[i] == '}' && level == 0:
			return "", nil, fmt.Errorf("%q has a } without a {", path)
		case path[i] == '}':
			if level--; level == 0 {
				params = append(params, path[start:i])
				out.WriteString("{}")
			}
		case level == 0:
			out.WriteByte(path[i])
		}
	}
	if level > 0 {
		return "", nil, fmt.Errorf("%q has a { without a }", path)
	}
	return out.String(), params, nil
}

func checkPattern(pattern string) error {
	if len(pattern) > maxPattern {
		return fmt.Errorf("the expression is longer than %d bytes", maxPattern)
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return err
	}
	if len(program.Inst) > maxProgram {
		return fmt.Errorf("the expression compiles to more than %d steps", maxProgram)
	}
	return nil
}

func checkHost(host string) error {
	name := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	switch {
	case strings.Contains(host, "/"):
		return fmt.Errorf("%q is no host; leave out the scheme and the path", host)
	case strings.Contains(host, ":"):
		return fmt.Errorf("%q is no host; leave out the port, any port matches", host)
	case strings.ContainsFunc(host, func(r rune) bool { return r > 0x7E }):
		return fmt.Errorf("%q is not ASCII; write the name in its xn-- form", host)
	case strings.Contains(strings.TrimPrefix(host, "*."), "*"):
		return fmt.Errorf("%q has its * in the wrong place; only *.example.com works", host)
	case len(host) > 253 || !hostForm.MatchString(host):
		return fmt.Errorf("%q is no host", host)
	}
	return nil
}

func checkHostPort(host string) error {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has no good port", host)
		}
		host = name
	}
	if strings.HasPrefix(host, "*") {
		return fmt.Errorf("%q cannot be sent as Host", host)
	}
	return checkHost(host)
}

// hosts are all alternatives, in the form that requests are compared in.
func (m *Match) hosts() []string {
	all := slices.Clone(m.Hosts)
	if m.Host != "" || len(all) == 0 {
		all = append(all, m.Host)
	}
	for i, host := range all {
		all[i] = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// key is equal for matches that differ at most in their hosts and are otherwise
// the same.
func (m *Match) key() string {
	path, params, err := splitTemplate(m.Path)
	if err != nil {
		path = m.Path // complained of already
	}
	for i, param := range params {
		_, params[i], _ = strings.Cut(param, ":") // two names for one segment match the same
	}
	prefix := m.Prefix
	if len(prefix) > 1 {
		prefix = strings.TrimSuffix(prefix, "/")
	}
	call := ""
	switch {
	case m.GRPC != nil:
		call = fmt.Sprintf("%#v", *m.GRPC)
	case path+m.PathRegex == "":
		prefix = cmp.Or(prefix, "/")
	}
	headers := make(map[string]Value, len(m.Headers))
	for name, value := range m.Headers {
		headers[strings.ToLower(name)] = value
	}
	clients := slices.Compact(slices.SortedFunc(slices.Values(m.Clients), netip.Prefix.Compare))
	return fmt.Sprintf("%q %q %q %q %q %q %#v %#v %v %q", path, params, prefix, m.PathRegex, call,
		sortedSet(m.Methods), headers, m.Query, clients, sortedSet(m.Listeners))
}

func sortedSet(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// name is the default name of a route: the host, then the path.
func (m *Match) name() string {
	host := m.Host
	if host == "" && len(m.Hosts) > 0 {
		host = m.Hosts[0]
	}
	switch {
	case m.GRPC != nil:
		return host + "/" + m.GRPC.Service.String() + "/" + m.GRPC.Method.String()
	case m.Path != "":
		return host + m.Path
	case m.PathRegex != "":
		return host + "~" + m.PathRegex
	}
	return host + strings.TrimSuffix(m.Prefix, "/") + "/*"
}

// nameRoutes names the routes that have no name. Where two would get the same,
// the later one gets its methods and at last a number added.
func nameRoutes(routes []*Route) {
	taken := make(map[string]bool, len(routes))
	for _, r := range routes {
		taken[r.Name] = true
	}
	for _, r := range routes {
		if r.Name != "" {
			continue
		}
		m := &Match{}
		if len(r.Match) > 0 {
			m = &r.Match[0]
		}
		name := m.name()
		if taken[name] && len(m.Methods) > 0 {
			name += " " + strings.Join(m.Methods, ",")
		}
		for base, n := name, 2; taken[name]; n++ {
			name = base + " #" + strconv.Itoa(n)
		}
		r.Name, taken[name] = name, true
	}
}
