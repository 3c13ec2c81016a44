package fair

import (
	"net"
	"net/netip"
	"testing"
)

// textAddr is an address of a type that Network does not know.
type textAddr struct{ network, text string }

func (a textAddr) Network() string { return a.network }
func (a textAddr) String() string  { return a.text }

func prefix(s string) Name { return Name{prefix: netip.MustParsePrefix(s), known: true} }
func kind(s string) Name   { return Name{kind: s, known: true} }

func TestNetwork(t *testing.T) {
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	ip := net.ParseIP
	for _, c := range []struct {
		addr net.Addr
		want Name
	}{
		{nil, Name{}},
		{&net.TCPAddr{IP: ip("192.0.2.77"), Port: 1}, prefix("192.0.2.0/24")}, // ParseIP maps it to IPv6
		{&net.TCPAddr{IP: ip("192.0.2.78").To4(), Port: 2}, prefix("192.0.2.0/24")},
		{&net.UDPAddr{IP: ip("192.0.2.79"), Port: 3}, prefix("192.0.2.0/24")},
		{&net.IPAddr{IP: ip("192.0.2.80")}, prefix("192.0.2.0/24")},
		{textAddr{"tcp", "192.0.2.81:443"}, prefix("192.0.2.0/24")},
		{textAddr{"tcp", "[::ffff:192.0.2.82]:443"}, prefix("192.0.2.0/24")},
		{textAddr{"tcp", "[::ffff:192.0.2.82%eth0]:443"}, prefix("192.0.2.0/24")},
		{textAddr{"ip", "192.0.2.83"}, prefix("192.0.2.0/24")},
		{&net.TCPAddr{IP: ip("192.0.3.77")}, prefix("192.0.3.0/24")},
		{&net.TCPAddr{IP: ip("2001:db8:1:ab01::1")}, prefix("2001:db8:1:ab00::/56")},
		{&net.TCPAddr{IP: ip("2001:db8:1:abff:2::3")}, prefix("2001:db8:1:ab00::/56")},
		{&net.TCPAddr{IP: ip("2001:db8:1:ac00::1")}, prefix("2001:db8:1:ac00::/56")},
		{&net.UDPAddr{IP: ip("fe80::1"), Zone: "eth0"}, prefix("fe80::/56")},
		{&net.IPAddr{IP: ip("fe80::2"), Zone: "eth1"}, prefix("fe80::/56")},
		{textAddr{"udp", "[fe80::3%eth2]:1"}, prefix("fe80::/56")},
		{&net.TCPAddr{}, kind("tcp")},
		{&net.TCPAddr{IP: net.IP{1, 2, 3}}, kind("tcp")},
		{(*net.TCPAddr)(nil), Name{}},
		{(*net.UDPAddr)(nil), Name{}},
		{(*net.IPAddr)(nil), Name{}},
		{(*net.UnixAddr)(nil), Name{}},
		{&net.UnixAddr{Name: "192.0.2.1:1", Net: "unix"}, kind("unix")},
		{&net.UnixAddr{Name: "@", Net: "unixpacket"}, kind("unixpacket")},
		{pipe.RemoteAddr(), kind("pipe")},
		{textAddr{"quic", "somewhere"}, kind("quic")},
		{textAddr{"", ""}, kind("")},
	} {
		if got := Network(c.addr); got != c.want {
			t.Errorf("%T %v: %+v, want %+v", c.addr, c.addr, got, c.want)
		}
	}
	if Network(nil) == Network(textAddr{}) {
		t.Error("no address counts as one without a network's name")
	}
}

// FuzzNetwork: an address of an unknown type counts as what it says. Its port,
// its zone, its bits after the prefix and how it is written make no difference.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"", ":1", "192.0.2.1:1", "[2001:db8::1]:65535", "[fe80::1%eth0]:1", "[::ffff:192.0.2.1]:1", "::1", "@", "a:b:c", "1.2.3.4:99999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := Network(textAddr{"kind", text})
		ap, err := netip.ParseAddrPort(text)
		ip := ap.Addr()
		if err != nil {
			ip, err = netip.ParseAddr(text)
		}
		if err != nil {
			if got != kind("kind") {
				t.Fatalf("%q: %+v", text, got)
			}
			return
		}
		if !got.prefix.Contains(ip.Unmap().WithZone("")) {
			t.Fatalf("%q: %+v does not contain it", text, got)
		}
		for _, same := range []net.Addr{
			net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 7)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.WithZone(""), 0)),
			&net.IPAddr{IP: net.IP(ip.AsSlice()), Zone: "another"},
			&net.TCPAddr{IP: net.IP(got.prefix.Addr().AsSlice())},
		} {
			if n := Network(same); n != got {
				t.Fatalf("%q: %+v, but %T %v: %+v", text, got, same, same, n)
			}
		}
	})
}
