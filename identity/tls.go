package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"

	"paas/cluster"
)

// ServerConfig is for the one port between hosts: TLS 1.3, n's certificate, and
// client certificates verified against the cluster's authority when one is
// given. Who must have one is decided per protocol, with PeerNode.
func (n *Node) ServerConfig(alpn ...string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{n.certificate()},
		ClientAuth:   tls.VerifyClientCertIfGiven,
		ClientCAs:    n.pool(),
		NextProtos:   alpn,
	}
}

// ClientConfig is for dialing a server: TLS 1.3, n's certificate presented. The
// other side is accepted by identity and not by address: its certificate must be
// the cluster's and name a server.
func (n *Node) ClientConfig(alpn string) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{n.certificate()},
		RootCAs:      n.pool(),
		ServerName:   serverName,
		NextProtos:   []string{alpn},
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, role, err := PeerNode(cs)
			if err != nil {
				return err
			}
			if role != RoleServer {
				return fmt.Errorf("node %s is not a server", id)
			}
			if cs.NegotiatedProtocol != alpn {
				return fmt.Errorf("server %s does not speak %s", id, alpn)
			}
			return nil
		},
	}
}

// WrongNodeError says that another node than the wanted one answered. It is known by
// its certificate: the address that was dialed is its own now.
type WrongNodeError struct{ Want, Got cluster.NodeID }

// Error implements error.
func (e *WrongNodeError) Error() string {
	return fmt.Sprintf("node %s answered, not %s", e.Got, e.Want)
}

// NodeConfig is for dialing one node and no other, server or agent, whatever its
// address: TLS 1.3, n's certificate presented. Whoever else answers with a
// certificate of the cluster is a *WrongNodeError.
func (n *Node) NodeConfig(want cluster.NodeID, alpn string) *tls.Config {
	pool := n.pool()
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{n.certificate()},
		NextProtos:   []string{alpn},
		// Agents' certificates are not for TLS servers, so that whoever knows nothing of
		// nodes refuses them. All that the library would check is checked below.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			id, err := verifyNode(cs, pool)
			switch {
			case err != nil:
				return err
			case id != want:
				return &WrongNodeError{Want: want, Got: id}
			case cs.NegotiatedProtocol != alpn:
				return fmt.Errorf("node %s does not speak %s", id, alpn)
			}
			return nil
		},
	}
}

// verifyNode checks the other side's certificate and says whose it is.
func verifyNode(cs tls.ConnectionState, pool *x509.CertPool) (cluster.NodeID, error) {
	if len(cs.PeerCertificates) == 0 {
		return "", errors.New("the other side has no certificate")
	}
	cert := cs.PeerCertificates[0]
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return "", fmt.Errorf("check the other side's certificate: %w", err)
	}
	id, _, err := certIdentity(cert)
	return id, err
}

// PeerNode says which node is at the other end of a connection whose certificate
// was verified; KindUnauthenticated when there is none.
func PeerNode(cs tls.ConnectionState) (cluster.NodeID, Role, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.PeerCertificates) == 0 {
		return "", RoleNone, cluster.Errorf(cluster.KindUnauthenticated, "certificate", "the connection has no node certificate")
	}
	id, role, err := certIdentity(cs.PeerCertificates[0])
	if err != nil {
		return "", RoleNone, cluster.Errorf(cluster.KindUnauthenticated, "certificate", "the certificate is not a node's").Wrap(err)
	}
	return id, role, nil
}

// PinnedConfig is for the command line: it trusts exactly the authority in
// caPEM and, of its certificates, only servers'. Without a certificate in caPEM
// every handshake fails.
func PinnedConfig(caPEM string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(caPEM))
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		ServerName: serverName,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, role, err := PeerNode(cs)
			if err != nil {
				return err
			}
			if role != RoleServer {
				return errors.New("the other side is not a server")
			}
			return nil
		},
	}
}

func (n *Node) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(n.ca)
	return pool
}
