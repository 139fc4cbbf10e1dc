package gateway

import (
	"net/netip"
	"testing"
)

func TestDenied(t *testing.T) {
	f := func(name, ip string, allowLoopback bool, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Helper()
			if got := Denied(netip.MustParseAddr(ip), allowLoopback); got != want {
				t.Errorf("%s: %q, want %q", ip, got, want)
			}
		})
	}
	f("D01: metadata service", "169.254.169.254", true, "link-local")
	f("D01: metadata service in IPv6", "::ffff:169.254.169.254", true, "link-local")
	f("D01: metadata service through NAT64", "64:ff9b::a9fe:a9fe", true, "link-local")
	f("D01: metadata service of its own", "fd00:ec2::254", true, "metadata service")
	f("D01: loopback", "127.0.0.1", false, "loopback")
	f("D01: loopback in IPv6", "::1", false, "loopback")
	f("D01: loopback through NAT64", "64:ff9b::7f00:1", false, "loopback")
	f("D01: unspecified", "0.0.0.0", true, "unspecified")
	f("D01: unspecified in IPv6", "::", true, "unspecified")
	f("link-local in IPv6", "fe80::1%eth0", true, "link-local")
	f("multicast", "224.0.0.1", true, "no single host")
	f("broadcast", "255.255.255.255", true, "no single host")
	f("loopback that is welcome", "127.0.0.1", true, "")
	f("a private network", "10.0.0.1", false, "")
	f("a neighbour of the metadata service", "fd00:ec2::253", false, "")
	f("a public address", "2001:db8::1", false, "")
}
