package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"paas/cluster"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// NodeLife is how long a node's certificate is good: architecture.md's 30 days.
	// Certificates renew at two thirds of it.
	NodeLife = 30 * 24 * time.Hour
	hostLife = 90 * 24 * time.Hour
	// skew lets a freshly made certificate be valid on a host whose clock is behind.
	skew = 5 * time.Minute
)

// Authority is a certificate authority with its key: ECDSA P-256, ten years. It
// is safe for concurrent use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority that is called name.
func NewAuthority(name string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make authority key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"paas"}},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read back authority %s: %w", name, err)
	}
	return &Authority{cert: cert, key: key}, nil
}

// LoadAuthority reads an authority back from its PEM parts.
func LoadAuthority(certPEM string, keyPEM cluster.Redacted) (*Authority, error) {
	cert, err := parseCertificate([]byte(certPEM))
	if err != nil {
		return nil, fmt.Errorf("read authority certificate: %w", err)
	}
	key, err := parseKey([]byte(keyPEM.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("read authority key: %w", err)
	}
	if !cert.IsCA {
		return nil, errors.New("read authority certificate: it is not an authority's")
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("read authority: key and certificate do not belong together")
	}
	return &Authority{cert: cert, key: key}, nil
}

// CertificatePEM is the public half, to be trusted by others.
func (a *Authority) CertificatePEM() string { return string(encodeCertificate(a.cert.Raw)) }

// KeyPEM is the private half.
func (a *Authority) KeyPEM() cluster.Redacted {
	return cluster.Redacted(encodeKey(a.key))
}

// Fingerprint is "sha256:" and 64 hex digits of the certificate.
func (a *Authority) Fingerprint() string { return fingerprint(a.cert) }

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// String names the authority and never shows its key.
func (a *Authority) String() string {
	return "authority " + a.cert.Subject.CommonName + " " + a.Fingerprint()
}

// GoString is String: %#v must not walk into the key.
func (a *Authority) GoString() string { return a.String() }

// LogValue never shows the key.
func (a *Authority) LogValue() slog.Value { return slog.StringValue(a.String()) }

// sign makes a certificate for public from template.
func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	template.SerialNumber = newSerial()
	template.BasicConstraintsValid = true
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
}

// newSerial draws 127 random bits: RFC 5280 wants a positive number of at most 20 octets.
func newSerial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the process instead
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic("identity: P-256 key does not marshal: " + err.Error())
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return key, nil
}
