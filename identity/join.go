package identity

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"paas/cluster"
)

const (
	joinScheme = "paas://"
	// maxJoinText and maxJoinAddresses bound what a person can have copied.
	maxJoinText      = 4 << 10
	maxJoinAddresses = 16
)

// CodeStranger is the code of the error about a host that is not of the cluster
// that a join string is for.
const CodeStranger = "join_stranger"

var (
	fingerprintRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	joinTokenRE   = regexp.MustCompile(`^([0-9a-f]{12})_([A-Za-z0-9_-]{43})$`)
	joinHostRE    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)
)

// JoinString is all that a host needs to join a cluster: where its servers are,
// how they are known, and the right to join once. Its text is
//
//	paas://HOST:PORT[,HOST:PORT…]?ca=sha256:HEX&token=ID_SECRET
//
// The zero JoinString is none. Printed or logged it shows no secret; Reveal is
// the text.
type JoinString struct {
	// Addresses are host:port of servers, in the order in which to try them.
	Addresses []string
	// Fingerprint is the authority's, "sha256:" and 64 hex digits.
	Fingerprint string
	ID          cluster.TokenID
	Secret      cluster.Redacted
}

// NewJoinSecret draws the right to join once: its public ID, the secret half that
// is shown once, and the hash that is kept. The secret has 256 random bits.
func NewJoinSecret() (id cluster.TokenID, secret cluster.Redacted, hash []byte) {
	id, plain := drawSecret()
	return id, cluster.Redacted(plain), hashToken(plain)
}

// JoinMatches reports whether secret is j's, in constant time; nil has none. It
// does not look at expiry or use.
func JoinMatches(j *cluster.Join, secret cluster.Redacted) bool {
	return j != nil && subtle.ConstantTimeCompare(j.Hash, hashToken(secret.Reveal())) == 1
}

// ParseJoinString reads what Reveal wrote, white space around it left out. Its
// errors are KindInvalid and never repeat the text.
func ParseJoinString(text string) (JoinString, error) {
	text = strings.TrimSpace(text)
	bad := func(why string) (JoinString, error) {
		return JoinString{}, cluster.Invalid("join", "this is no join string").Because("%s", why).
			WithHint("copy the whole of it, in quotes: --join 'paas://…'\nor make another one on a server: paas join create")
	}
	rest, ok := strings.CutPrefix(text, joinScheme)
	if !ok || len(text) > maxJoinText {
		return bad("a join string begins with paas:// and names a server")
	}
	hosts, query, _ := strings.Cut(rest, "?")
	j := JoinString{Addresses: strings.Split(hosts, ",")}
	if len(j.Addresses) > maxJoinAddresses || slices.ContainsFunc(j.Addresses, func(a string) bool { return !dialableAddress(a) }) {
		return bad("between paas:// and the question mark stand addresses, like 192.0.2.10:7443")
	}
	for part := range strings.SplitSeq(query, "&") {
		key, value, _ := strings.Cut(part, "=")
		token := joinTokenRE.FindStringSubmatch(value)
		switch {
		case key == "ca" && j.Fingerprint == "" && fingerprintRE.MatchString(value):
			j.Fingerprint = value
		case key == "token" && j.ID == "" && token != nil:
			j.ID, j.Secret = cluster.TokenID(token[1]), cluster.Redacted(token[2])
		default:
			return bad("after the question mark stand ca=sha256:… and token=…; a shell cuts the string at & without quotes")
		}
	}
	if j.Fingerprint == "" || j.ID == "" {
		return bad("its end is missing; a shell cuts the string at & without quotes")
	}
	return j, nil
}

// dialableAddress reports whether a is host:port, with an IP address or a name.
func dialableAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	if err != nil || a != net.JoinHostPort(host, port) {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
		return false
	}
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		return err == nil && ip.Zone() == ""
	}
	return joinHostRE.MatchString(host)
}

// Reveal is the whole text, secret included: for whoever asked for it.
func (j JoinString) Reveal() string { return j.text(j.Secret.Reveal()) }

func (j JoinString) text(secret string) string {
	return joinScheme + strings.Join(j.Addresses, ",") + "?ca=" + j.Fingerprint + "&token=" + string(j.ID) + "_" + secret
}

// String never shows the secret.
func (j JoinString) String() string { return j.text(j.Secret.String()) }

// GoString is String.
func (j JoinString) GoString() string { return j.String() }

// LogValue never shows the secret.
func (j JoinString) LogValue() slog.Value { return slog.StringValue(j.String()) }

// ClientConfig is for asking a server of the cluster to be let in: TLS 1.3, no
// certificate of ours yet. The other side is accepted when its certificate names a
// server and is signed by the authority that has the string's fingerprint; nothing
// is sent before. Errors are *cluster.Error: KindUnauthenticated for somebody else's
// server, KindUnavailable when the two clocks disagree.
func (j JoinString) ClientConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: serverName,
		// VerifyConnection is the whole check: the authority is known by its hash alone.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			return j.verify(cs.PeerCertificates, time.Now())
		},
	}
}

// verify checks the chain that a server showed.
func (j JoinString) verify(chain []*x509.Certificate, now time.Time) error {
	want, err := hex.DecodeString(strings.TrimPrefix(j.Fingerprint, "sha256:"))
	if err != nil {
		return cluster.Invalid("join", "this is no join string").Wrap(err)
	}
	at := slices.IndexFunc(chain, func(c *x509.Certificate) bool {
		sum := sha256.Sum256(c.Raw)
		return bytes.Equal(sum[:], want)
	})
	stranger := cluster.Errorf(cluster.KindUnauthenticated, CodeStranger, "the host at that address is not of the cluster that the join string is for").
		WithHint("make a join string on a server of the cluster that you mean: paas join create\nthen check the address in it")
	if at < 0 {
		return stranger.Because("no certificate that it shows has the fingerprint of the join string")
	}
	pool := x509.NewCertPool()
	pool.AddCert(chain[at])
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: serverName, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return clockError(chain[0], now)
	}
	if err != nil {
		return stranger.Because("its certificate is not one of a server of that cluster").Wrap(err)
	}
	if _, role, err := certIdentity(chain[0]); err != nil || role != RoleServer {
		return stranger.Because("it is no server")
	}
	return nil
}

// clockError says that a certificate is not good now, which of a running server's
// is seldom the certificate's fault.
func clockError(c *x509.Certificate, now time.Time) error {
	day := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
	return cluster.Errorf(cluster.KindUnavailable, "clock", "the server's certificate is not good now").
		Because("it is good from %s to %s, and the clock of this host says %s", day(c.NotBefore), day(c.NotAfter), day(now)).
		WithHint("set this host's clock: sudo timedatectl set-ntp true\nif it is right, look at the server's: paas doctor")
}
