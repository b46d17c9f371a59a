package identity

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"paas/cluster"
)

// maxHostsPerCertificate bounds what one request may ask for.
const maxHostsPerCertificate = 100

// SignHosts signs a certificate request (DER) for DNS names, good for 90 days.
// Every name must be allowed by hosts; addresses, mail addresses and URIs are
// refused, so that no host certificate can be taken for a node's. The answer is
// the PEM chain: certificate, then the authority.
func (a *Authority) SignHosts(csrDER []byte, hosts func(string) bool, now time.Time) (chainPEM []byte, err error) {
	csr, err := x509.ParseCertificateRequest(csrDER)
	if err != nil {
		return nil, cluster.Invalid("csr", "the certificate request cannot be read").Wrap(err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, cluster.Invalid("csr", "the certificate request is not signed by its own key").Wrap(err)
	}
	names := csr.DNSNames
	if len(names) == 0 && csr.Subject.CommonName != "" {
		names = []string{csr.Subject.CommonName}
	}
	if len(names) == 0 || len(names) > maxHostsPerCertificate {
		return nil, cluster.Invalid("csr", "the certificate request names %d hosts", len(names)).
			Because("a certificate is for 1 to %d", maxHostsPerCertificate)
	}
	if len(csr.IPAddresses)+len(csr.EmailAddresses)+len(csr.URIs) > 0 {
		return nil, cluster.Invalid("csr", "the certificate request names something that is no host")
	}
	for _, name := range names {
		if !hosts(name) {
			return nil, cluster.Errorf(cluster.KindForbidden, "csr", "host %q is not served here", name)
		}
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName(names[0])},
		DNSNames:    names,
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(hostLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := a.sign(template, csr.PublicKey)
	if err != nil {
		return nil, cluster.Invalid("csr", "the certificate request cannot be signed").Wrap(err)
	}
	return append(encodeCertificate(der), encodeCertificate(a.cert.Raw)...), nil
}

// commonName is name where X.509 lets it stand: at most 64 characters.
func commonName(name string) string {
	if len(name) > 64 {
		return ""
	}
	return name
}
