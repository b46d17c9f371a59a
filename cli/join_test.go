package cli

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
	"paas/server"
)

// aJoinString is one of the authority's, that leads nowhere.
func aJoinString(t *testing.T, a *identity.Authority) *identity.JoinString {
	t.Helper()
	id, secret, _ := identity.NewJoinSecret()
	return &identity.JoinString{Addresses: []string{"192.0.2.1:7443"}, Fingerprint: a.Fingerprint(), ID: id, Secret: secret}
}

func anAuthority(t *testing.T) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority("paas cluster test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// servesHere is somebody who works for a's cluster on this host, with the state in the
// directory that is returned.
func servesHere(t *testing.T, a *identity.Authority) (dir string, me *identity.Node) {
	t.Helper()
	dir = t.TempDir()
	me, err := a.NewNode(cluster.NodeID(identity.NewID()), identity.RoleAgent, nil, time.Now())
	if err == nil {
		err = me.Save(filepath.Join(dir, "node"))
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: "@paas/cluster/" + identity.NewID()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // it ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, dir)
			_ = conn.Close()
		}
	}()
	return dir, me
}

// TestNoStringIsUsedUpOnAHostOfTheCluster: a second process for it could not run.
func TestNoStringIsUsedUpOnAHostOfTheCluster(t *testing.T) {
	ours := anAuthority(t)
	public := netip.MustParseAddr("192.0.2.20")
	if err := checkJoin(aJoinString(t, ours), public); err != nil {
		t.Fatalf("a new host: %v", err)
	}
	dir, me := servesHere(t, ours)
	err := checkJoin(aJoinString(t, ours), public)
	if exitCode(err) != exitConflict || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), string(me.ID)) || !strings.Contains(asError(err).Hint, "it is still good") {
		t.Errorf("a host that is in it: %v", err)
	}
	if err := checkJoin(aJoinString(t, anAuthority(t)), public); err != nil {
		t.Errorf("another cluster: %v", err)
	}
}

// TestNamesakeIsWarnedOf on the host that joined, and of its own name alone.
func TestNamesakeIsWarnedOf(t *testing.T) {
	dir, me := servesHere(t, anAuthority(t))
	for name, warns := range map[string]bool{"h1": true, "h2": false} {
		r := &cluster.Roster{Members: []cluster.Member{{ID: "0000000000000000", Name: name}, {ID: me.ID, Name: "h1"}}}
		if me.ID < r.Members[0].ID {
			t.Fatal("a roster is sorted")
		}
		var said strings.Builder
		in := &invocation{program: &program{out: &output{out: io.Discard, err: &said}}}
		if err := in.warnNamesake(r, dir); err != nil || strings.Contains(said.String(), "is named h1, too") != warns {
			t.Errorf("beside %s: %v, %q", name, err, said.String())
		}
	}
}

// TestAHostThatIsInNeedsNoString, and is told what to do if it was removed: the string is
// not looked at.
func TestAHostThatIsInNeedsNoString(t *testing.T) {
	ours := anAuthority(t)
	dir, _ := servesHere(t, ours)
	var said strings.Builder
	in := &invocation{program: &program{out: &output{out: io.Discard, err: &said}}}
	if joins, err := in.joins(aJoinString(t, ours), dir, identity.RoleAgent); joins || err != nil {
		t.Fatalf("joins %t, %v", joins, err)
	}
	if got := said.String(); !strings.Contains(got, "not needed any more") || !strings.Contains(got, "If it was removed") || !strings.Contains(got, dir) {
		t.Errorf("it says %q", got)
	}
}

// TestWhatNobodyReachesIsNotAdvertised, before a string is used up.
func TestWhatNobodyReachesIsNotAdvertised(t *testing.T) {
	j := aJoinString(t, anAuthority(t))
	ports := []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0"}
	for _, ip := range []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "169.254.1.1", "fe80::1", "255.255.255.255"} {
		for _, role := range []string{"server", "agent"} {
			_, errs, code := paasIn(t, append([]string{role, "--data", t.TempDir(), "--advertise", ip, "--join", j.Reveal()}, ports...)...)
			if code != exitUsage || !strings.Contains(errs, "ther hosts cannot reach this one at ") || !strings.Contains(errs, "--advertise 192.0.2.20") {
				t.Errorf("%s --join --advertise %s: exit %d\n%s", role, ip, code, errs)
			}
		}
		if err := checkJoin(j, netip.MustParseAddr(ip)); exitCode(err) != exitUsage {
			t.Errorf("%s, wherever it is from: %v", ip, err)
		}
		if err := checkAdvertised(ip, nil); (err == nil) != netip.MustParseAddr(ip).Unmap().IsLoopback() {
			t.Errorf("a server that is the only one, at %s: %v", ip, err)
		}
	}
	for _, ip := range []string{"192.0.2.20", "10.0.0.1", "2001:db8::1", "fd00::1"} {
		if err := checkJoin(j, netip.MustParseAddr(ip)); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

// TestAddressOfNoInterfaceIsWarnedOf, and not refused: gateways translate.
func TestAddressOfNoInterfaceIsWarnedOf(t *testing.T) {
	own := []net.Addr{&net.IPNet{IP: net.ParseIP("10.77.0.2"), Mask: net.CIDRMask(24, 32)}, &net.IPNet{IP: net.ParseIP("fd00::2"), Mask: net.CIDRMask(64, 128)}}
	for ip, want := range map[string]bool{"10.77.0.2": true, "::ffff:10.77.0.2": true, "fd00::2": true, "10.77.0.9": false, "fd00::9": false} {
		if got := ipAmong(own, netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s is this host's: %t", ip, got)
		}
	}
	// Nobody is at the string's address: the join fails, after the warning.
	j := aJoinString(t, anAuthority(t))
	j.Addresses = []string{"127.0.0.1:1"}
	ports := []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--registry", "127.0.0.1:0"}
	_, errs, code := paasIn(t, append([]string{"server", "--data", t.TempDir(), "--no-apps", "--advertise", "192.0.2.20", "--join", j.Reveal()}, ports...)...)
	if code == exitOK || !strings.Contains(errs, "192.0.2.20 is the address of no network interface of this host") {
		t.Errorf("exit %d\n%s", code, errs)
	}
}

// TestAServerOnLoopbackIsAlone: nobody else can join it. One that has others does not
// go there.
func TestAServerOnLoopbackIsAlone(t *testing.T) {
	single, several := t.TempDir(), t.TempDir()
	me, err := anAuthority(t).NewNode("0123456789abcdef", identity.RoleServer, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	roster := cluster.Roster{Members: []cluster.Member{{ID: me.ID, Server: true}}}
	for dir, other := range map[string]cluster.NodeID{single: "", several: "fedcba9876543210"} {
		if other != "" {
			roster.Members = append(roster.Members, cluster.Member{ID: other})
		}
		data, err := json.Marshal(roster)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "roster.json"), data, 0o600)
		}
		if err == nil {
			err = me.Save(filepath.Join(dir, "node"))
		}
		if err != nil {
			t.Fatal(err)
		}
		roster.Members = roster.Members[:1]
	}
	for _, c := range []struct {
		dir, listen, advertise string
		alone                  bool
		code                   int
	}{
		{t.TempDir(), "127.0.0.1:7443", "", true, exitOK},
		{single, "0.0.0.0:7443", "127.0.0.1", true, exitOK},
		{single, "0.0.0.0:7443", "192.0.2.20", false, exitOK},
		{single, "127.0.0.1:7443", "192.0.2.20", false, exitOK},
		{several, "0.0.0.0:7443", "192.0.2.20", false, exitOK},
		{several, "0.0.0.0:7443", "", false, exitOK},
		{several, "0.0.0.0:7443", "127.0.0.1", true, exitUsage},
		{several, "127.0.0.1:7443", "", true, exitUsage},
	} {
		got, err := alone(server.Config{Dir: c.dir, Listen: c.listen, Advertise: c.advertise})
		if err != nil && exitCode(err) != c.code || err == nil && (c.code != exitOK || got != c.alone) {
			t.Errorf("%+v: alone %t, %v", c, got, err)
		}
	}
}
