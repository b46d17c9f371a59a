//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"paas/identity"
)

// protocols are those of the port between hosts that only nodes may speak.
var protocols = []string{"paas-raft/1", "paas-session/1", "paas-relay/1", "paas-peer/1", "paas-tunnel/1"}

// clusterStrangers tries each way in that is not an invitation, once.
func clusterStrangers(f *fleet) {
	joinsOnce(f, f.agents()[0])
	joinAttacks(f, f.spare, 1)
	authority, err := identity.NewAuthority("foreign", time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, role := range []identity.Role{identity.RoleServer, identity.RoleAgent} {
		n, err := authority.NewNode("aaaaaaaaaaaaaaaa", role, nil, time.Now())
		if err != nil {
			f.t.Fatal(err)
		}
		certificateAttacks(f, "foreign "+role.String(), n, protocols, 1)
	}
	certificateAttacks(f, "nobody", nil, protocols, 1)
	agent, err := identity.LoadNode(f.agents()[0].data() + "/node")
	if err != nil {
		f.t.Fatal(err)
	}
	certificateAttacks(f, "an agent, where servers speak,", agent, []string{"paas-raft/1", "paas-relay/1"}, 1)
}

// joinsOnce tries to join from a host that is in the cluster already, with another data
// directory and port: it is refused, and the join string stays good.
func joinsOnce(f *fleet, m *member) {
	f.t.Helper()
	text := f.joinString(f.members[0], "--role", "agent")
	full := f.bed.command("exec", m.index, f.bin, "agent", "--data", m.home+"/twice", "--advertise", m.addr, "--listen", ":7999", "--join", text)
	cmd := exec.Command(full[0], full[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+m.home, "NO_COLOR=1")
	said, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 5 || !strings.Contains(string(said), "it is still good") {
		f.t.Errorf("%s joins again: %v\n%s", m.name, err, said)
	}
	var joins []struct {
		ID   string `json:"id"`
		Node string `json:"node"`
	}
	f.into(&joins, f.home, "join", "list")
	for _, j := range joins {
		if strings.Contains(text, "token="+j.ID+"_") && j.Node != "" {
			f.t.Errorf("the refused join used the string up: node %s", j.Node)
		}
	}
}

// joinAttacks tries bad join strings from a host, each of them n times. Every one
// must be refused with an exit code and a message, and make no node.
func joinAttacks(f *fleet, from *member, n int) {
	f.t.Helper()
	before, err := f.nodes()
	if err != nil {
		f.t.Fatal(err)
	}
	used := usedString(f, from)
	tries, in := 0, 0
	for i := range n {
		for what, text := range badStrings(f, used) {
			tries++
			said, refused := f.refusesJoin(from, fmt.Sprintf("%s-%d", strings.Fields(what)[0], i), text)
			if !refused {
				in++
				f.t.Errorf("a join string that is %s got in:\n%s", what, said)
			}
			if i == 0 {
				f.t.Logf("%s: %s", what, tail(said, 3))
			}
			if secret := text[secretAt(text):]; strings.Contains(said, secret) {
				f.t.Errorf("the refusal of a string that is %s shows its secret:\n%s", what, said)
			}
		}
	}
	after, err := f.nodes()
	if err != nil || len(after) != len(before) {
		f.t.Errorf("%d nodes before, %d after (%v)", len(before), len(after), err)
	}
	f.t.Logf("bad join strings: %d of %d got in", in, tries)
}

// usedString is one that a node has joined with; the node is removed again.
func usedString(f *fleet, from *member) string {
	f.t.Helper()
	text := f.joinString(f.members[0], "--role", "agent")
	data := fmt.Sprintf("%s/joined-%d", from.home, time.Now().UnixNano()) // a host joins once
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := f.joining(ctx, from, "once", data, text)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	f.await("a good join string lets in", 30*time.Second, func() string {
		list, err := f.nodes()
		if err != nil {
			return err.Error()
		}
		for _, x := range list {
			if x.Name == "try-once" && x.State == "up" {
				return ""
			}
		}
		return fmt.Sprint(list)
	})
	cancel()
	_ = cmd.Wait()
	removed, err := identity.LoadNode(data + "/node")
	if err != nil {
		f.t.Fatal(err)
	}
	f.must(f.home, "nodes", "remove", "try-once", "--yes")
	certificateAttacks(f, "removed node", removed, protocols, 1)
	return text
}

// badStrings are join strings that must not work, by what is wrong with them. One
// that has expired is the server's own tests': it is good for a minute at least.
func badStrings(f *fleet, used string) map[string]string {
	f.t.Helper()
	good := f.joinString(f.members[0], "--role", "agent")
	at := secretAt(good)
	flip := func(s string, i int) string {
		c := byte('A')
		if s[i] == c {
			c = 'B'
		}
		return s[:i] + string(c) + s[i+1:]
	}
	ca := strings.Index(good, "ca=sha256:") + len("ca=sha256:")
	bad := map[string]string{
		"replayed":              used,
		"wrong in its secret":   flip(good, at+3),
		"of another authority":  good[:ca] + strings.Repeat("0", 64) + good[ca+64:],
		"foreign in its number": good[:strings.Index(good, "token=")+len("token=")] + "0123456789ab" + good[at-1:],
	}
	revoked := f.joinString(f.members[0], "--role", "agent")
	id := revoked[strings.Index(revoked, "token=")+len("token="):]
	f.must(f.home, "join", "revoke", id[:strings.IndexByte(id, '_')])
	bad["revoked"] = revoked
	return bad
}

// secretAt is where the secret half of a join string begins; it may hold a '_' itself.
func secretAt(text string) int {
	token := strings.Index(text, "token=")
	return token + strings.IndexByte(text[token:], '_') + 1
}

// joining is an agent on a host that joins with a string.
func (f *fleet) joining(ctx context.Context, from *member, name, data, text string) *exec.Cmd {
	full := f.bed.command("exec", from.index, f.bin, "agent", "--data", data, "--advertise", from.addr, "--name", "try-"+name, "--join", text)
	cmd := exec.CommandContext(ctx, full[0], full[1:]...)
	cmd.Env = append(os.Environ(), "HOME="+from.home, "NO_COLOR=1")
	return cmd
}

// refusesJoin says what a host printed that tried to join, and whether it gave up.
func (f *fleet) refusesJoin(from *member, name, text string) (said string, refused bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := f.joining(ctx, from, name, from.home+"/try-"+name, text).CombinedOutput()
	var exit *exec.ExitError
	return string(out), errors.As(err, &exit) && ctx.Err() == nil
}

// certificateAttacks presents a certificate to every host on each protocol, n
// times; nil is none. Nothing may be let in.
func certificateAttacks(f *fleet, who string, n *identity.Node, alpn []string, times int) {
	f.t.Helper()
	tries, in := 0, 0
	for range times {
		for _, m := range f.members {
			if !m.running() {
				continue
			}
			for _, p := range alpn {
				tries++
				if w := f.letIn(m, n, p); w != "" {
					in++
					f.t.Errorf("%s got in at %s on %s: %s", who, m.name, p, w)
				}
			}
		}
	}
	f.t.Logf("certificate of %s: %d of %d got in", who, in, tries)
}

// letIn says how a connection was let in; "" is refused: closed or answered with an
// alert before anything else.
func (f *fleet) letIn(m *member, n *identity.Node, alpn string) string {
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, ServerName: "paas", NextProtos: []string{alpn}}
	if n != nil {
		cfg = n.ClientConfig(alpn)
		cfg.InsecureSkipVerify, cfg.VerifyConnection, cfg.VerifyPeerCertificate = true, nil, nil // a thief asks for no papers
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	raw, err := f.bed.dial(ctx, "0", m.addr+":7443")
	if err != nil {
		return "cannot be tried: " + err.Error()
	}
	defer raw.Close()
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return ""
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	got := make([]byte, 64)
	k, err := conn.Read(got)
	var slow net.Error
	switch {
	case strings.HasPrefix(string(got[:k]), "paas: this node was removed"): // a refusal in words
		return ""
	case k > 0:
		return fmt.Sprintf("it answered %q", got[:k])
	case errors.As(err, &slow) && slow.Timeout():
		return "the connection stays open"
	case errors.Is(err, io.EOF), err != nil:
		return ""
	}
	return "it answered nothing, and no error"
}
