package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"paas/cluster"
	"paas/identity"
)

// certificates returns the identities of a server and a node of one cluster.
func certificates(t *testing.T) (server, node *identity.Node) {
	t.Helper()
	now := time.Now()
	ca, err := identity.NewAuthority("test", now)
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ca.NewNode("00000000000000ff", identity.RoleServer, []net.IP{net.IPv4(127, 0, 0, 1)}, now); err != nil {
		t.Fatal(err)
	}
	if node, err = ca.NewNode(testNode, identity.RoleAgent, nil, now); err != nil {
		t.Fatal(err)
	}
	return server, node
}

// The same session as under fake time, over the connections of production, and
// nothing of it is left when both ends return.
//
// It runs in a bubble, too, for the sake of the others: yamux leaves a timer for
// each stream that only one side closed, and what that timer does takes another
// one out of a pool of the whole process. From real time it would fire in the
// middle of a later test's bubble, and the runtime ends a process for that. The
// bubble's clock stands still while sockets are open, so no timeout can expire.
func TestSessionOverMutualTLSLeavesNothing(t *testing.T) {
	bubble(t, sessionOverMutualTLS)
}

func sessionOverMutualTLS(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	serverID, nodeID := certificates(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld()
	w.want(1, 1)
	s := newSessionServer(w)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serveOne(ctx, l, serverID, s) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), nodeID.ClientConfig(ALPNSession))
	if err != nil {
		t.Fatal(err)
	}
	calls := &nodeCalls{ended: make(chan error, 10)}
	agent, err := NewAgentSession(t.Context(), SessionConfig{Conn: conn, Hello: Hello{Node: cluster.Node{ID: testNode}}, Calls: calls, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	got, ran := make(chan Desired, 10), make(chan error, 1)
	go func() { ran <- agent.Run(ctx, func(d Desired) { got <- d }) }()
	if d := await(t, "the first set", got); d.Assignments == nil && d.Routes == nil {
		t.Errorf("got %+v", d)
	}
	checkServerCalls(t, agent)
	node, err := s.Node(testNode)
	if err != nil {
		t.Fatal(err)
	}
	checkNodeCalls(t, node, calls)
	if err := agent.Report([]Observed{{ID: "a-1"}}); err != nil {
		t.Error(err)
	}
	stop()
	if err := await(t, "the agent", ran); !errors.Is(err, context.Canceled) {
		t.Errorf("run: got %v", err)
	}
	if err := await(t, "the server", served); !errors.Is(err, context.Canceled) {
		t.Errorf("serve: got %v", err)
	}
	_ = l.Close()
	<-time.After(sessionCloseWait + sessionPing) // the streams' timers fire here, in fake time
}

// serveOne serves the first session that arrives at l.
func serveOne(ctx context.Context, l net.Listener, id *identity.Node, s *SessionServer) error {
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	conn := tls.Server(raw, id.ServerConfig(ALPNSession))
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	node, role, err := identity.PeerNode(conn.ConnectionState())
	if err != nil {
		return err
	}
	return s.Serve(ctx, conn, Peer{node, role})
}

// The same handler and client with the cluster's own certificates and pinning.
func TestClientPinsTheClusterAuthority(t *testing.T) {
	serverID, _ := certificates(t)
	s := newServer(t)
	s.TLS.Certificates = serverID.ServerConfig("h2", "http/1.1").Certificates
	c, err := NewClient(ClientConfig{URL: s.URL, Token: "admin", TLS: identity.PinnedConfig(serverID.AuthorityPEM())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(context.Background()); err != nil {
		t.Errorf("the right authority: got %v", err)
	}
	other, _ := certificates(t)
	c, err = NewClient(ClientConfig{URL: s.URL, Token: "admin", TLS: identity.PinnedConfig(other.AuthorityPEM())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(context.Background())
	var e *cluster.Error
	if !errors.As(err, &e) || e.Code != "tls_pin" || strings.Contains(e.Error(), "x509") {
		t.Errorf("another authority: got %v", err)
	}
}

// TestClientTellsAnExpiredCertificateFromAForeignOne: to log in again would not
// help, and to look at the clock might.
func TestClientTellsAnExpiredCertificateFromAForeignOne(t *testing.T) {
	then := time.Now().Add(-60 * 24 * time.Hour)
	authority, err := identity.NewAuthority("old", then)
	if err != nil {
		t.Fatal(err)
	}
	node, err := authority.NewNode(testNode, identity.RoleServer, nil, then)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	s.TLS.Certificates = node.ServerConfig("h2", "http/1.1").Certificates
	c, err := NewClient(ClientConfig{URL: s.URL, Token: "admin", TLS: identity.PinnedConfig(node.AuthorityPEM())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(context.Background())
	var e *cluster.Error
	if !errors.As(err, &e) || e.Code != "tls_expired" || e.Hint != "see which of them is wrong: paas doctor" ||
		!strings.Contains(e.Reason, "to "+minute(node.NotAfter())) {
		t.Errorf("got %#v", err)
	}
}

func FuzzSessionMessage(f *testing.F) {
	for _, v := range []any{message{Heartbeat: true}, message{Hello: &Hello{Node: cluster.Node{ID: testNode}}}, message{Observed: []Observed{{ID: "a-1"}}},
		message{Assignments: &AssignmentSet{Index: 1, Assignments: []Assignment{{ID: "a-1"}}}}, callRequest{Method: "logs"}, callReply{Error: toWire(errors.New("x"))}} {
		body, err := marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{0, 0, byte(len(body) >> 8), byte(len(body))}, body...))
	}
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, wire []byte) {
		var m message
		if readMessage(strings.NewReader(string(wire)), &m) == nil {
			if _, err := marshal(m); err != nil {
				t.Errorf("%x does not survive: %v", wire, err)
			}
		}
		var q callRequest
		_ = readMessage(strings.NewReader(string(wire)), &q)
		var r callReply
		if readMessage(strings.NewReader(string(wire)), &r) == nil {
			_ = r.Error.err()
		}
	})
}
