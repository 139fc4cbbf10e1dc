package route

import (
	"net/netip"
	"slices"
)

// networks are sorted by address; none lies inside another.
type networks []netip.Prefix

// newNetworks drops networks that a larger one covers, so that at most one can
// hold an address.
func newNetworks(in []netip.Prefix) networks {
	var all networks
	for _, p := range slices.SortedFunc(slices.Values(in), netip.Prefix.Compare) {
		p = p.Masked()
		if len(all) == 0 || !all[len(all)-1].Overlaps(p) {
			all = append(all, p)
		}
	}
	return all
}

// contain looks for the one network that could hold the address: the last that
// does not begin after it.
func (n networks) contain(addr netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(n, addr, func(p netip.Prefix, addr netip.Addr) int { return p.Addr().Compare(addr) })
	if !exact {
		i--
	}
	return i >= 0 && n[i].Contains(addr)
}
