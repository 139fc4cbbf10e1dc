package discovery

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// maxTargets bounds the size of a set, so that a registry that was filled by
// mistake or in bad faith cannot fill the gateway's memory.
const maxTargets = 10_000

// TargetConfig is one endpoint as an operator writes it: `10.0.0.7:9000`, or a
// mapping.
type TargetConfig struct {
	// Address is host:port; host is an IP address or a DNS name. Required.
	Address string `yaml:"address"`
	// Weight is the relative share of the load, 1 to 100. Default: 1.
	Weight *int `yaml:"weight"`
	// Zone is where the endpoint runs.
	Zone string `yaml:"zone"`
	// Tags are labels without a value, for arms.
	Tags []string `yaml:"tags"`
	// Meta are labels with a value, for arms.
	Meta map[string]string `yaml:"meta"`
}

// UnmarshalText reads the short form, which is the address alone.
func (t *TargetConfig) UnmarshalText(text []byte) error {
	*t = TargetConfig{Address: string(text)}
	return nil
}

// parseTargets turns what operators write into targets. Its errors name the
// settings below path.
func parseTargets(path string, configs []TargetConfig) ([]gateway.Target, error) {
	if len(configs) > maxTargets {
		return nil, kind.At(path, "%d targets are more than %d", len(configs), maxTargets)
	}
	targets := make([]gateway.Target, 0, len(configs))
	first := make(map[string]int, len(configs))
	var errs []error
	for i, c := range configs {
		at := fmt.Sprintf("%s[%d]", path, i)
		addr, err := parseAddress(c.Address)
		before, taken := first[addr]
		switch {
		case err != nil:
			errs = append(errs, kind.At(at+".address", "%w", err))
		case taken:
			errs = append(errs, kind.At(at+".address", "%s is also %s[%d]", addr, path, before))
		default:
			first[addr] = i
		}
		weight := 1
		if c.Weight != nil {
			weight = *c.Weight
		}
		if weight < 1 || weight > 100 {
			errs = append(errs, kind.At(at+".weight", "must be 1 to 100, not %d", weight))
		}
		targets = append(targets, gateway.Target{
			Addr: addr, Weight: weight, Zone: c.Zone, Tags: sortedTags(c.Tags), Meta: c.Meta,
		})
	}
	return targets, errors.Join(errs...)
}

func sortedTags(tags []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(tags)))
}

// parseAddress reads host:port and returns it in its canonical form.
func parseAddress(s string) (string, error) {
	if s == "" {
		return "", errors.New("is missing; write host:port")
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", fmt.Errorf("%q is no port from 1 to 65535", portText)
	}
	return joinAddress(host, int(port))
}

// joinAddress is the canonical host:port of an address that can be dialled.
func joinAddress(host string, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("%d is no port from 1 to 65535", port)
	}
	host, err := parseHost(host)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

// parseHost accepts an IP address or a DNS name, and nothing that a resolver
// might understand in a third way.
func parseHost(host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", fmt.Errorf("address %s has a zone", ip)
		}
		return ip.Unmap().String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > 253 {
		return "", fmt.Errorf("%.64q is no host name", host)
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if !validLabel(label) {
			return "", fmt.Errorf("%.64q is no host name", host)
		}
		last = label
	}
	// Old resolvers read 127.1, 0x7f.1 and 2130706433 as 127.0.0.1, so a name
	// whose last label is a number could smuggle an address past a deny-list.
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%.64q is neither an IP address nor a host name", host)
	}
	return name, nil
}

// validLabel allows underscores beside what RFC 1123 does, because container
// platforms put them into names.
func validLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	for _, c := range []byte(label) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// isLoopback says whether a host in canonical form is this machine.
func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// denied says why an address from a registry must not be dialled, or "". What a
// name resolves to is known only when it is dialled, and judged again then.
func denied(addr string, allowLoopback bool) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "not host:port"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return gateway.Denied(ip, allowLoopback)
	}
	if isLoopback(host) && !allowLoopback {
		return "loopback"
	}
	return ""
}
