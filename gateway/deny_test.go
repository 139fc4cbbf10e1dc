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

func TestIsLoopback(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "localhost."} {
		if !IsLoopback(host) {
			t.Errorf("%q is this machine", host)
		}
	}
	for _, host := range []string{"", "10.0.0.1", "0.0.0.0", "::", "localhost.example.com", "a.localhost", "127.0.0.1.example.com", "127.1"} {
		if IsLoopback(host) {
			t.Errorf("%q is not, or need not be, this machine", host)
		}
	}
}

// A name that led elsewhere when it was looked up may lead to the metadata service now.
func TestGuardDial(t *testing.T) {
	f := func(address string, allowLoopback bool, want string) {
		t.Helper()
		got := ""
		if err := GuardDial(allowLoopback)("tcp", address, nil); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	f("169.254.169.254:80", true, "the name leads to a link-local address")
	f("127.0.0.1:80", false, "the name leads to a loopback address")
	f("[::1]:80", false, "the name leads to a loopback address")
	f("127.0.0.1:80", true, "")
	f("192.0.2.1:443", false, "")
}
