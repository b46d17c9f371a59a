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
