package agent

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// keepMembership writes what Join leaves behind.
func keepMembership(t *testing.T, n *identity.Node) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := errors.Join(n.Save(filepath.Join(dir, nodeDir)),
		os.WriteFile(filepath.Join(dir, membershipFile), []byte(`{"cluster":"0123456789abcdef","servers":["10.0.0.1:7443"]}`), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMembershipCountsOnceTheJoinHasEnded(t *testing.T) {
	_, me := identities(t)
	dir := keepMembership(t, me)
	m, err := LoadMembership(dir)
	if err != nil || m.Cluster != "0123456789abcdef" || len(m.Servers) != 1 || m.Node().ID != me.ID {
		t.Fatalf("loaded %+v, %v", m, err)
	}
	if err := os.WriteFile(filepath.Join(dir, joinKeyFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a join is a membership: %v", err)
	}
	if _, err := LoadMembership(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing is a membership: %v", err)
	}
}

// The next certificate comes through the session, for a new key, and is on the disk
// before it is used.
func TestCertificateIsRenewedThroughTheSession(t *testing.T) {
	now := time.Now()
	ca, err := identity.NewAuthority("cluster", now.Add(-60*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.NewNode("00000000000000aa", identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, now)
	if err != nil {
		t.Fatal(err)
	}
	me, err := ca.NewNode("00000000000000bb", identity.RoleAgent, nil, now.Add(-identity.NodeLife*2/3-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	dir := keepMembership(t, me)
	m, err := LoadMembership(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := newControl(t, server, "c0ffee")
	asked := cluster.NodeID("")
	c.sign = func(p api.Peer, csr []byte) ([]byte, error) {
		asked = p.ID
		return ca.SignNode(csr, p.ID, p.Role, nil, now)
	}
	a, stop := runAgent(t, Config{Dir: filepath.Join(dir, "agent"), Node: m.Node, Renew: m.Renew, Cluster: "c0ffee", Servers: []string{c.listener.Addr().String()}})
	receive(t, "hello", c.hellos)
	receive(t, "ready", a.Ready())
	if now.Before(m.Node().RenewAt()) {
		t.Fatal("the certificate is not old enough for this test")
	}
	fresh, err := a.renewed(t.Context(), m.Node())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Renew(fresh); err != nil {
		t.Fatal(err)
	}
	saved, err := LoadMembership(dir)
	if err != nil || asked != me.ID || !saved.Node().NotAfter().Equal(m.Node().NotAfter()) || !saved.Node().NotAfter().After(me.NotAfter()) {
		t.Errorf("asked as %s, saved %v, %v", asked, saved, err)
	}
	stop()
	c.stop()
}
