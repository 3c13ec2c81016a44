package fair

import (
	"net"
	"net/netip"
)

// Bits of an address that name its network: what one subscriber is commonly
// given at most, or, with IPv4, what is commonly routed at least.
const (
	bits4 = 24
	bits6 = 56
)

// Name names the network that an address counts for. Names are comparable.
type Name struct {
	prefix netip.Prefix
	kind   string // net.Addr's Network, if there is no prefix
	known  bool   // false: no address
}

// Network returns the network that an address counts for: the /24 of an IPv4
// address, be it mapped to IPv6, and the /56 of another IPv6 address, in any
// zone. All other addresses with the same [net.Addr.Network] count for one
// network, such as "unix", and no address at all, a nil addr, for another.
func Network(addr net.Addr) Name {
	ip, ok := ipOf(addr)
	if !ok {
		return Name{}
	}
	bits := bits6
	if ip = ip.Unmap(); ip.Is4() {
		bits = bits4
	}
	prefix, err := ip.Prefix(bits) // without the zone
	if err != nil || !prefix.IsValid() {
		return Name{kind: addr.Network(), known: true}
	}
	return Name{prefix: prefix, known: true}
}

// ipOf returns the IP address in addr, the zero Addr if addr has none, and
// false if addr is nil or a nil pointer of a type of package net.
func ipOf(addr net.Addr) (ip netip.Addr, ok bool) {
	var slice net.IP
	switch a := addr.(type) {
	case nil:
		return ip, false
	case *net.TCPAddr:
		if a == nil {
			return ip, false
		}
		slice = a.IP
	case *net.UDPAddr:
		if a == nil {
			return ip, false
		}
		slice = a.IP
	case *net.IPAddr:
		if a == nil {
			return ip, false
		}
		slice = a.IP
	case *net.UnixAddr: // a path, whatever it looks like
		return ip, a != nil
	default:
		return parse(a.String()), true
	}
	ip, _ = netip.AddrFromSlice(slice)
	return ip, true
}

// parse returns the address in text, with a port or without one.
func parse(text string) netip.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr()
	}
	ip, _ := netip.ParseAddr(text)
	return ip
}
