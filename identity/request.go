package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"paas/cluster"
)

// Key is a host's private key (ECDSA P-256) on its way to a certificate. It never
// leaves the host. It is immutable and safe for concurrent use.
type Key struct{ key *ecdsa.PrivateKey }

// NewKey draws a key.
func NewKey() (*Key, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make node key: %w", err)
	}
	return &Key{key}, nil
}

// LoadOrCreateKey reads the key in the file at path, or draws one and writes it
// there (0600). A host asks for its certificate only with a key that it will find
// again: whoever lost the answer asks once more and gets it.
func LoadOrCreateKey(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		key, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("load node key %s: %w", path, err)
		}
		return &Key{key}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load node key: %w", err)
	}
	k, err := NewKey()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create node key: %w", err)
	}
	return k, WriteFile(path, encodeKey(k.key))
}

// Request is the certificate request (DER, PKCS #10). It says nothing but the key,
// and proves that the key is there: who its holder is, the authority says.
func (k *Key) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.key)
	if err != nil {
		return nil, fmt.Errorf("request node certificate: %w", err)
	}
	return der, nil
}

// Node is the identity that the authority made of k: chainPEM is what SignNode
// returned. Whoever calls it compares the authority with what it expects.
func (k *Key) Node(chainPEM []byte) (*Node, error) {
	n, err := parseNode(bytes.Join([][]byte{chainPEM, encodeKey(k.key)}, nil))
	if err != nil {
		return nil, fmt.Errorf("take node certificate: %w", err)
	}
	return n, nil
}

// String never shows the key.
func (k *Key) String() string { return "node key" }

// GoString is String: %#v must not walk into the key.
func (k *Key) GoString() string { return k.String() }

// LogValue never shows the key.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// RequestKey checks a certificate request and returns the SHA-256 of its public
// key: the same for every request made with one key. KindInvalid if it is no
// request of a node's.
func RequestKey(csrDER []byte) (hash []byte, err error) {
	csr, err := parseRequest(csrDER)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return sum[:], nil
}

func parseRequest(csrDER []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, cluster.Invalid("csr", "the certificate request cannot be read").Wrap(err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, cluster.Invalid("csr", "the certificate request is not signed by its own key").Wrap(err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, cluster.Invalid("csr", "the certificate request is not for a node").Because("a node's key is ECDSA P-256")
	}
	return csr, nil
}

// SignNode makes a node's certificate of a request (DER), good for 30 days: for
// the request's key, and with what the caller says of its holder. What the request
// says of itself does not count. The answer is the PEM chain: certificate, then
// the authority.
func (a *Authority) SignNode(csrDER []byte, id cluster.NodeID, role Role, ips []net.IP, now time.Time) (chainPEM []byte, err error) {
	csr, err := parseRequest(csrDER)
	if err != nil {
		return nil, err
	}
	template, err := nodeTemplate(id, role, ips, now)
	if err != nil {
		return nil, err
	}
	der, err := a.sign(template, csr.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of node %s: %w", id, err)
	}
	return append(encodeCertificate(der), encodeCertificate(a.cert.Raw)...), nil
}

// Renewed is n with the certificate that the authority made of k: chainPEM is what
// SignNode returned. It must be of the same node, role and authority: whoever
// renews becomes nobody else.
func (n *Node) Renewed(k *Key, chainPEM []byte) (*Node, error) {
	fresh, err := k.Node(chainPEM)
	if err != nil {
		return nil, err
	}
	if fresh.ID != n.ID || fresh.Role != n.Role || !fresh.ca.Equal(n.ca) {
		return nil, fmt.Errorf("renew certificate of %s: the new one is of %s, authority %s", n, fresh, fresh.AuthorityFingerprint())
	}
	return fresh, nil
}

// AuthorityFingerprint is "sha256:" and 64 hex digits of the certificate of the
// authority that n trusts.
func (n *Node) AuthorityFingerprint() string { return fingerprint(n.ca) }

// Fingerprint is "sha256:" and 64 hex digits of the certificate in certPEM.
func Fingerprint(certPEM string) (string, error) {
	block, _ := pem.Decode([]byte(certPEM))
	if block == nil || block.Type != "CERTIFICATE" {
		return "", errors.New("fingerprint: no certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	return fingerprint(cert), nil
}
