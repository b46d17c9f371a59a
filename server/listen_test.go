package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

func TestListenerRefuses(t *testing.T) {
	h := newHost(t)
	agent := h.server.Node()
	anonymous := identity.PinnedConfig(h.server.CAPEM())
	anonymous.NextProtos = []string{api.ALPNSession}
	raft := identity.PinnedConfig(h.server.CAPEM())
	raft.NextProtos = []string{api.ALPNRaft}
	old := identity.PinnedConfig(h.server.CAPEM())
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	stranger, err := identity.NewAuthority("another", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := stranger.NewNode(agent.ID, identity.RoleServer, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign := agent.ClientConfig(api.ALPNSession)
	foreign.Certificates = other.ServerConfig().Certificates
	for name, cfg := range map[string]*tls.Config{"session without a certificate": anonymous, "raft": raft, "TLS 1.2": old, "another cluster's node": foreign} {
		conn, err := tls.Dial("tcp", h.server.Addr().String(), cfg)
		if err != nil {
			continue // refused in the handshake
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n > 0 || !(errors.Is(err, io.EOF) || isAlert(err)) {
			t.Errorf("%s: read %d, %v", name, n, err)
		}
		_ = conn.Close()
	}
}

func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func TestDataDirectoryIsPrivate(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	err := filepath.WalkDir(h.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		// What lies below a directory of 0700 is private whatever its own mode.
		if filepath.Dir(path) == h.dir && e.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		if filepath.Dir(path) == h.dir && !e.IsDir() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCloseWithoutRun gives everything back: the same directory and port open again.
func TestCloseWithoutRun(t *testing.T) {
	dir, listen := filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	for range 2 {
		s, err := New(Config{Dir: dir, Listen: listen, Version: "test"}) // with the real builder
		if err != nil {
			t.Fatal(err)
		}
		listen = s.Addr().String()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Dir: dir, Listen: "0.0.0.0:0"}) // its certificate is renewed for all addresses
	if err != nil {
		t.Fatal(err)
	}
	if !s.sans.in(s.Node()) {
		t.Errorf("addresses: %v", s.sans)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = New(Config{Dir: dir, Listen: "127.0.0.1:0", Names: []string{"paas.example.com", "203.0.113.7"}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := s.Node().ServerConfig().Certificates[0].Leaf
	for _, name := range []string{"paas.example.com", "203.0.113.7", "127.0.0.1", "localhost"} { // what git looks for
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"PAAS.example.com", "paas", "https://paas.example.com", "*.example.com", ""} {
		if _, err := New(Config{Dir: dir, Listen: listen, Names: []string{name}}); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("takes %q for a name of its certificate: %v", name, err)
		}
	}
	if _, err := New(Config{Dir: dir, Listen: "nonsense"}); err == nil {
		t.Error("listens on nonsense")
	}
	if _, err := New(Config{Dir: dir, Listen: listen, Domain: "UPPER.example"}); err == nil {
		t.Error("takes a domain that is none")
	}
}
