package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"paas/cluster"
)

// nodeFile holds certificate, authority and key in one file, so that a crash
// during a renewal cannot leave a key without its certificate.
const nodeFile = "node.pem"

// serverName is the DNS name that every server certificate carries, so that a
// client who pins the authority needs to know no address.
const serverName = "paas"

// Node is a host's identity: its key, its certificate and the authority that it
// trusts. It is immutable and safe for concurrent use.
type Node struct {
	ID   cluster.NodeID
	Role Role

	ca   *x509.Certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewNode makes a fresh key and certificate for a host, good for 30 days; a server's
// names its addresses, and other names that people reach it at.
func (a *Authority) NewNode(id cluster.NodeID, role Role, ips []net.IP, now time.Time, names ...string) (*Node, error) {
	template, err := nodeTemplate(id, role, ips, now, names...)
	if err != nil {
		return nil, err
	}
	k, err := NewKey()
	if err != nil {
		return nil, err
	}
	der, err := a.sign(template, k.key.Public())
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %s: %w", id, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back certificate of node %s: %w", id, err)
	}
	return &Node{ID: id, Role: role, ca: a.cert, cert: cert, key: k.key}, nil
}

// nodeTemplate is what a node's certificate says.
func nodeTemplate(id cluster.NodeID, role Role, ips []net.IP, now time.Time, names ...string) (*x509.Certificate, error) {
	if err := id.Validate(); err != nil {
		return nil, err
	}
	if role != RoleServer && role != RoleAgent {
		return nil, cluster.Invalid("role", "a node cannot have the role %s", role)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: string(id), OrganizationalUnit: []string{role.String()}, Organization: []string{"paas"}},
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(NodeLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{nodeURI(id, role)},
	}
	// Only servers get what a TLS client looks for in a server, so that even a
	// client that knows nothing of roles refuses an agent.
	if role == RoleServer {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames = append([]string{"localhost", serverName}, names...)
		template.IPAddresses = ips
	}
	return template, nil
}

// Save writes n into dir, which is made if it is missing: one file, 0600,
// replaced whole.
func (n *Node) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save node %s: %w", n.ID, err)
	}
	data := slices.Concat(encodeCertificate(n.cert.Raw), encodeCertificate(n.ca.Raw), encodeKey(n.key))
	if err := WriteFile(filepath.Join(dir, nodeFile), data); err != nil {
		return fmt.Errorf("save node %s: %w", n.ID, err)
	}
	return nil
}

// LoadNode reads the identity that Save wrote; fs.ErrNotExist when there is none.
func LoadNode(dir string) (*Node, error) {
	path := filepath.Join(dir, nodeFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load node identity: %w", err)
	}
	n, err := parseNode(data)
	if err != nil {
		return nil, fmt.Errorf("load node identity %s: %w", path, err)
	}
	return n, nil
}

// parseNode reads certificate, authority and key, and checks that they belong
// together.
func parseNode(data []byte) (*Node, error) {
	var blocks [3][]byte
	for i := range blocks {
		block, rest := pem.Decode(data)
		if block == nil {
			return nil, errors.New("it does not hold three PEM blocks")
		}
		blocks[i], data = pem.EncodeToMemory(block), rest
	}
	cert, err := parseCertificate(blocks[0])
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	ca, err := parseCertificate(blocks[1])
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	key, err := parseKey(blocks[2])
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("key and certificate do not belong together")
	}
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return nil, fmt.Errorf("check certificate: %w", err)
	}
	id, role, err := certIdentity(cert)
	if err != nil {
		return nil, err
	}
	return &Node{ID: id, Role: role, ca: ca, cert: cert, key: key}, nil
}

// NotAfter is when the certificate ends.
func (n *Node) NotAfter() time.Time { return n.cert.NotAfter }

// RenewAt is when the certificate should be replaced: two thirds of its life.
func (n *Node) RenewAt() time.Time {
	return n.cert.NotBefore.Add(n.cert.NotAfter.Sub(n.cert.NotBefore) * 2 / 3)
}

// AuthorityPEM is the certificate of the authority that n trusts.
func (n *Node) AuthorityPEM() string { return string(encodeCertificate(n.ca.Raw)) }

// String names the node and never shows its key.
func (n *Node) String() string { return "node " + string(n.ID) + " (" + n.Role.String() + ")" }

// GoString is String: %#v must not walk into the key.
func (n *Node) GoString() string { return n.String() }

// LogValue never shows the key.
func (n *Node) LogValue() slog.Value { return slog.StringValue(n.String()) }

// certificate is n as crypto/tls presents it.
func (n *Node) certificate() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{n.cert.Raw, n.ca.Raw}, PrivateKey: n.key, Leaf: n.cert}
}

// nodeURI is paas://ROLE/NODE-ID: what a certificate says of its holder.
func nodeURI(id cluster.NodeID, role Role) *url.URL {
	return &url.URL{Scheme: "paas", Host: role.String(), Path: "/" + string(id)}
}

// certIdentity reads what nodeURI wrote.
func certIdentity(cert *x509.Certificate) (cluster.NodeID, Role, error) {
	i := slices.IndexFunc(cert.URIs, func(u *url.URL) bool { return u.Scheme == "paas" })
	if i < 0 {
		return "", RoleNone, errors.New("certificate names no node")
	}
	u := cert.URIs[i]
	var role Role
	if err := role.UnmarshalText([]byte(u.Host)); err != nil || role == RoleNone {
		return "", RoleNone, fmt.Errorf("certificate names no role: %s", u)
	}
	id := cluster.NodeID(strings.TrimPrefix(u.Path, "/"))
	if err := id.Validate(); err != nil {
		return "", RoleNone, err
	}
	return id, role, nil
}
