package cli

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func loginVerb() *verb {
	return &verb{name: "login", group: groupSelf, summary: "log in to a cluster", args: "URL", takes: one, run: login,
		about: "The server is known by the fingerprint of its authority, never by its address alone. A one-time\n" +
			"token, as the server's console shows it, is exchanged for a lasting one.",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "token", Usage: "`TOKEN` from the server's console or from paas token create; - is stdin"},
			&cli.StringFlag{Name: "ca-fingerprint", Usage: "`SHA256` of the cluster's authority: sha256:…"},
			&cli.StringFlag{Name: "ca", Usage: "`FILE` with the cluster's authority (PEM), instead of the fingerprint"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the context; the host's if it is not given"},
		},
		examples: []string{"paas login https://192.0.2.10:7443 --ca-fingerprint sha256:… --token paas_…"}}
}

func login(ctx context.Context, in *invocation) error {
	at, err := serverURL(in.arg(0))
	if err != nil {
		return err
	}
	files, err := home(in.env)
	if err != nil {
		return err
	}
	t := &target{name: in.String("name"), server: at.String()}
	if t.name == "" {
		t.name = strings.ReplaceAll(at.Hostname(), ":", "-")
	}
	if err := validContext(t.name); err != nil {
		return err
	}
	if t.token, err = readToken(in.String("token"), in.stdin); err != nil {
		return err
	}
	if _, err := parseFingerprint(in.String("ca-fingerprint")); err != nil {
		return err
	}
	if t.ca, err = in.authority(ctx, at); err != nil {
		return err
	}
	who, err := t.exchange(ctx, tokenName(in.env))
	if cluster.KindOf(err) == cluster.KindUnauthenticated {
		return asError(err).WithHint("the server's first token works once; ask an admin for another: paas token create")
	}
	if err != nil {
		return err
	}
	if err := files.put(t, makeCurrent); err != nil {
		return err
	}
	return in.print(who, func(o *output) {
		o.done("logged in as %s (%s) on context %s", who.Name, who.Scope, t.name)
		o.next("paas apps create")
	})
}

// serverURL is an address as people type it: "paas.example.com" is enough.
func serverURL(arg string) (*url.URL, error) {
	if !strings.Contains(arg, "://") {
		arg = "https://" + arg
	}
	u, err := url.Parse(arg)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, cluster.Invalid("url", "%q is no server's address", arg).WithHint("an address looks like https://192.0.2.10:7443")
	}
	if u.Port() == "" && u.Scheme == "https" {
		u.Host = net.JoinHostPort(u.Hostname(), "7443")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// authority is the certificate that the server must be signed by: a file's, or
// the one in the server's chain that has the fingerprint.
func (in *invocation) authority(ctx context.Context, at *url.URL) (string, error) {
	if file := in.String("ca"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", cluster.Invalid("ca", "%s cannot be read", file).Because("%v", err)
		}
		return string(data), nil
	}
	if at.Scheme == "http" {
		return "", nil // loopback only: the client sees to it
	}
	want, err := parseFingerprint(in.String("ca-fingerprint"))
	if err != nil {
		return "", err
	}
	chain, err := chainOf(ctx, at)
	if err != nil {
		return "", err
	}
	if want == "" {
		return "", in.refuseUnknown(at, chain)
	}
	for _, c := range chain {
		if sum := sha256.Sum256(c.Raw); hex.EncodeToString(sum[:]) == want {
			return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})), nil
		}
	}
	return "", cluster.Errorf(cluster.KindUnauthenticated, "ca_fingerprint", "the server at %s is not the one that you mean", at.Host).
		Because("no certificate that it shows has that fingerprint").
		WithHint("compare the fingerprint with the one on the server's console; do not go on if they differ")
}

// parseFingerprint reads "sha256:" and 64 hex digits, with or without colons, and
// returns the digits; "" is none.
func parseFingerprint(text string) (string, error) {
	digits := strings.TrimPrefix(strings.ReplaceAll(strings.ToLower(text), ":", ""), "sha256")
	if raw, err := hex.DecodeString(digits); text != "" && (err != nil || len(raw) != sha256.Size) {
		return "", cluster.Invalid("ca_fingerprint", "this is no fingerprint").Because("a fingerprint is sha256: and 64 hex digits").
			WithHint("copy the whole of it from the server's console")
	}
	return digits, nil
}

// refuseUnknown is for servers without a fingerprint: those that the system's
// roots vouch for are fine.
func (in *invocation) refuseUnknown(at *url.URL, chain []*x509.Certificate) error {
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: at.Hostname(), Intermediates: pool}); err == nil {
		return nil
	}
	return cluster.Errorf(cluster.KindUnauthenticated, "ca_fingerprint", "the server at %s is not known yet", at.Host).
		Because("its certificate is the cluster's own, and no fingerprint was given").
		WithHint("copy the whole command from the server's console, with --ca-fingerprint")
}

// chainOf is the certificates that a server shows. They are not to be trusted
// before their fingerprint is compared.
func chainOf(ctx context.Context, at *url.URL) ([]*x509.Certificate, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{
		InsecureSkipVerify: true, // nothing is sent on this connection: only the chain is looked at
		ServerName:         at.Hostname(), MinVersion: tls.VersionTLS12}}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return nil, cluster.Errorf(cluster.KindUnavailable, "unreachable", "cannot reach the server at %s", at.Host).
			Because("%v", innermost(err)).WithHint("check the address and the firewall").Wrap(err)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return nil, cluster.Errorf(cluster.KindUnavailable, "tls", "the server at %s shows no certificate", at.Host)
	}
	return chain, nil
}

// innermost is the cause without the layers of verbs and addresses around it.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// exchange makes a one-time token a lasting one; a lasting one stays as it is.
func (t *target) exchange(ctx context.Context, name string) (*api.Actor, error) {
	client, err := t.client()
	if err != nil {
		return nil, err
	}
	made, err := client.Login(ctx, api.Login{Name: name})
	switch cluster.KindOf(err) {
	case cluster.KindForbidden, cluster.KindUnauthenticated:
		who, whoErr := client.Whoami(ctx)
		if whoErr != nil {
			return nil, err
		}
		return who, nil
	}
	if err != nil {
		return nil, err
	}
	t.token = cluster.Redacted(made.Text)
	return &api.Actor{Token: made.ID, Name: made.Name, Scope: made.Scope, Apps: made.Apps}, nil
}
