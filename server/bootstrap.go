package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"paas/cluster"
	"paas/identity"
)

const (
	purposeCA     = "settings/ca"
	purposeEdgeCA = "settings/edge-ca"
)

// trust is who this server is and what it can vouch for.
type trust struct {
	settings  cluster.Settings // as at bootstrap; the state's are the newest
	sealer    *identity.Sealer
	authority *identity.Authority // signs nodes
	edge      *identity.Authority // signs private host names
	node      *identity.Node
}

// openTrust reads the host's identity from l, or makes a cluster and an identity
// on first start. Every step writes its file whole before the next one begins, so
// a start that was cut off continues.
func openTrust(l layout, domain cluster.Hostname, as sans, now time.Time) (*trust, error) {
	key, err := identity.LoadOrCreateSealKey(l.sealKey())
	if err != nil {
		return nil, err
	}
	t := &trust{}
	if t.sealer, err = identity.NewSealer(key); err != nil {
		return nil, err
	}
	if err := t.loadSettings(l, domain, now); err != nil {
		return nil, err
	}
	if t.authority, err = t.open(t.settings.CACertificate, t.settings.CAKey, purposeCA); err != nil {
		return nil, err
	}
	if t.edge, err = t.open(t.settings.EdgeCACertificate, t.settings.EdgeCAKey, purposeEdgeCA); err != nil {
		return nil, err
	}
	if t.node, err = t.openNode(l, as, now); err != nil {
		return nil, err
	}
	return t, nil
}

// loadSettings reads the cluster's settings, or makes them.
func (t *trust) loadSettings(l layout, domain cluster.Hostname, now time.Time) error {
	data, err := os.ReadFile(l.settings())
	if err == nil {
		if err := cbor.Unmarshal(data, &t.settings); err != nil {
			return fmt.Errorf("read %s: %w", l.settings(), err)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read cluster settings: %w", err)
	}
	if t.settings, err = newSettings(t.sealer, domain, now); err != nil {
		return err
	}
	return writeSettings(l, t.settings)
}

func writeSettings(l layout, s cluster.Settings) error {
	mode, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano}.EncMode()
	if err != nil {
		return fmt.Errorf("encode cluster settings: %w", err)
	}
	data, err := mode.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode cluster settings: %w", err)
	}
	return writeOnce(l.settings(), data)
}

// newSettings makes a cluster: its ID and its two authorities, whose keys are
// sealed before anything else sees them.
func newSettings(sealer *identity.Sealer, domain cluster.Hostname, now time.Time) (cluster.Settings, error) {
	s := cluster.Settings{ID: cluster.ClusterID(identity.NewID()), Domain: domain, CreatedAt: now.UTC(), FeatureLevel: cluster.FeatureLevel}
	for _, a := range []struct {
		name, purpose string
		cert          *string
		key           *cluster.Secret
	}{
		{"paas cluster " + string(s.ID), purposeCA, &s.CACertificate, &s.CAKey},
		{"paas private hosts " + string(s.ID), purposeEdgeCA, &s.EdgeCACertificate, &s.EdgeCAKey},
	} {
		authority, err := identity.NewAuthority(a.name, now)
		if err != nil {
			return s, err
		}
		*a.cert = authority.CertificatePEM()
		if *a.key, err = sealer.Seal([]byte(authority.KeyPEM().Reveal()), a.purpose); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (t *trust) open(cert string, key cluster.Secret, purpose string) (*identity.Authority, error) {
	plain, err := t.sealer.Open(key, purpose)
	if err != nil {
		return nil, fmt.Errorf("open authority key (does seal.key belong to this cluster?): %w", err)
	}
	return identity.LoadAuthority(cert, cluster.Redacted(plain))
}

// openNode reads this host's identity, makes it on first start, and renews its
// certificate when it is old or the host's addresses changed. The node's ID never
// changes: it is the identity, an address is not.
func (t *trust) openNode(l layout, as sans, now time.Time) (*identity.Node, error) {
	n, err := identity.LoadNode(l.node())
	id := cluster.NodeID(identity.NewID())
	switch {
	case err == nil && now.Before(n.RenewAt()) && as.in(n):
		return n, nil
	case err == nil:
		id = n.ID
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return t.issueNode(l, id, as, now)
}

func (t *trust) issueNode(l layout, id cluster.NodeID, as sans, now time.Time) (*identity.Node, error) {
	n, err := t.authority.NewNode(id, identity.RoleServer, as.ips, now, as.names...)
	if err != nil {
		return nil, err
	}
	return n, n.Save(l.node())
}

// sans are what a server's certificate is good for.
type sans struct {
	ips   []net.IP
	names []string
}

// in reports whether n's certificate is good for all of them.
func (s sans) in(n *identity.Node) bool {
	certs := n.ServerConfig().Certificates
	if len(certs) == 0 || certs[0].Leaf == nil {
		return false
	}
	for _, ip := range s.ips {
		if !slices.ContainsFunc(certs[0].Leaf.IPAddresses, ip.Equal) {
			return false
		}
	}
	for _, name := range s.names {
		if !slices.Contains(certs[0].Leaf.DNSNames, name) {
			return false
		}
	}
	return true
}

// sans are the server's own addresses and what its operator calls it beside them.
func (c Config) sans() (public netip.Addr, s sans, err error) {
	if public, s.ips, err = addresses(c.Listen, c.Advertise); err != nil {
		return public, s, err
	}
	for _, name := range c.Names {
		if ip := net.ParseIP(name); ip != nil {
			s.ips = append(s.ips, ip)
			continue
		}
		s.names = append(s.names, name)
	}
	return public, s, nil
}

// addresses returns the IP address that others reach the server at, and all that
// its certificate must name.
func addresses(listen, advertise string) (public netip.Addr, all []net.IP, err error) {
	ap, err := cluster.ParseAddress("listen", listen)
	if err != nil {
		return public, nil, err
	}
	public = ap.Addr()
	all = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if public.IsUnspecified() {
		own := ownAddresses()
		public = own[0]
		for _, a := range own {
			all = append(all, a.AsSlice())
		}
	}
	if advertise != "" {
		if public, err = netip.ParseAddr(advertise); err != nil {
			return public, nil, cluster.Invalid("advertise", "--advertise is not an IP address").Wrap(err)
		}
	}
	for _, a := range []netip.Addr{public, ap.Addr()} {
		if !a.IsUnspecified() {
			all = append(all, a.AsSlice())
		}
	}
	return public, all, nil
}

// ownAddresses are the host's, those first that others can reach. There is at
// least one.
func ownAddresses() []netip.Addr {
	var out []netip.Addr
	addrs, _ := net.InterfaceAddrs() // without any, loopback it is
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			out = append(out, p.Addr())
		}
	}
	return append(out, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}
