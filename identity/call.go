package identity

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"paas/cluster"
)

// A call is what a host says to everybody on its network when it finds none of the
// others where they were: who it is and which port it has. It fits into one datagram
// and is signed, so that only hosts of the cluster are heard. Where it came from is
// no part of it: whoever wants to use it dials, and meets that host or none.
//
//	"paas-call/1" · port (2) · Unix milliseconds (8) · length (2) · certificate (DER) · signature (ASN.1)
type Call struct {
	Node cluster.NodeID
	Role Role
	Port uint16
	At   time.Time // by the caller's clock: one that is repeated is no newer
}

const (
	callMagic = "paas-call/1"
	// MaxCall is the most bytes that a call can have: what fits into one frame.
	MaxCall = 1400
	// callSkew is how far the two clocks may differ. Hosts that were off may have
	// lost theirs; an old call that somebody repeats leads to nobody.
	callSkew = 24 * time.Hour
)

// Call makes n's call.
func (n *Node) Call(port uint16, now time.Time) ([]byte, error) {
	out := []byte(callMagic)
	out = binary.BigEndian.AppendUint16(out, port)
	out = binary.BigEndian.AppendUint64(out, uint64(now.UnixMilli()))
	out = binary.BigEndian.AppendUint16(out, uint16(len(n.cert.Raw)))
	out = append(out, n.cert.Raw...)
	sum := sha256.Sum256(out)
	signature, err := ecdsa.SignASN1(rand.Reader, n.key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign call: %w", err)
	}
	if out = append(out, signature...); len(out) > MaxCall {
		return nil, errors.New("sign call: the certificate is too large")
	}
	return out, nil
}

// Hear reads another host's call. Whatever is not one of a host of n's cluster is an
// error.
func (n *Node) Hear(datagram []byte, now time.Time) (Call, error) {
	const head = len(callMagic) + 12
	if len(datagram) < head || len(datagram) > MaxCall || string(datagram[:len(callMagic)]) != callMagic {
		return Call{}, errors.New("not a call")
	}
	fields := datagram[len(callMagic):]
	at := time.UnixMilli(int64(binary.BigEndian.Uint64(fields[2:])))
	end := head + int(binary.BigEndian.Uint16(fields[10:]))
	if end > len(datagram) || at.Sub(now).Abs() > callSkew {
		return Call{}, errors.New("the call is cut off, or old")
	}
	cert, err := x509.ParseCertificate(datagram[head:end])
	if err != nil {
		return Call{}, fmt.Errorf("read caller's certificate: %w", err)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: n.pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return Call{}, fmt.Errorf("check caller's certificate: %w", err)
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(datagram[:end])
	if !ok || !ecdsa.VerifyASN1(key, sum[:], datagram[end:]) {
		return Call{}, errors.New("the call is not signed by its caller")
	}
	id, role, err := certIdentity(cert)
	return Call{Node: id, Role: role, Port: binary.BigEndian.Uint16(fields), At: at}, err
}
