package api

import (
	"context"
	"time"

	"paas/cluster"
)

// The agent session: ALPN "paas-session/1" over mutual TLS 1.3, multiplexed by
// yamux. The agent dials. The first stream carries CBOR messages both ways for
// as long as the session lives; every other stream is one call.
//
//	agent → server   Hello, then Heartbeat every second, Observed and Router when they change
//	server → agent   Welcome, then Assignments (always the full set), Routes and Roster when they change
//	server → agent   calls: Logs, Exec, Run
//	agent → server   calls: certificate storage, edge certificates
//
// Both sides are level-triggered: the newest full set is all that counts, and
// after a reconnect everything is sent again.
const (
	ALPNSession = "paas-session/1"
	ALPNRaft    = "paas-raft/1"
	ALPNTunnel  = "paas-tunnel/1"

	// HeartbeatInterval and NodeLease: architecture.md section 4.
	HeartbeatInterval = time.Second
	NodeLease         = 4 * time.Second
)

// Hello is an agent's first message.
type Hello struct {
	Node cluster.Node // what the agent reports of its host
	// Observed is everything on the node, so that a new leader starts from facts.
	Observed []Observed
	// Space is how full the node's file systems are, as every heartbeat says it.
	Space []cluster.Space
	// Process is drawn anew by every process, so that two that claim to be one node are
	// told apart; "" in earlier versions.
	Process string
}

// Welcome is the server's answer to Hello.
type Welcome struct {
	Cluster cluster.ClusterID
	Domain  cluster.Hostname
	ACME    ACMESettings
}

// ACMESettings say how public host names get certificates. Directory "" means
// none: every host gets an internal one.
type ACMESettings struct {
	Directory string
	Email     string
	// CA (PEM) signs the directory's own TLS, for private ACME servers; "" means the system's roots.
	CA string
}

// Observed is one allocation's news. Log holds the last lines of output when it
// failed; it stays in the server's memory and never enters Raft.
type Observed struct {
	ID          cluster.AllocationID
	Observation cluster.Observation
	Log         []string
}

// News is what an agent tells of its node.
type News struct {
	Observed []Observed
	// Gone are volumes of AssignmentSet.Destroyed of which nothing is left on the node.
	Gone []cluster.VolumeID
}

// AssignmentSet is everything a node should have, at one index. What the agent
// has and the set does not name is stopped and removed, but for volumes.
type AssignmentSet struct {
	Index       uint64
	Assignments []Assignment
	// Destroyed are the volumes whose data is to be removed: exactly these, and as soon
	// as nothing uses them. A volume that is named nowhere stays.
	Destroyed []cluster.VolumeID
}

// Assignment is an allocation with all that its agent needs to run it.
type Assignment struct {
	ID      cluster.AllocationID
	App     cluster.AppName
	Type    cluster.ProcessType
	Slot    int
	Release cluster.ReleaseVersion
	Desired cluster.DesiredState
	Image   cluster.Image
	Process cluster.Process
	// Mounts are the volumes that its container has, which no other may have meanwhile.
	Mounts []cluster.Mount
	// Env is the release's config and what the platform sets: PORT, PAAS_APP,
	// PAAS_PROCESS, PAAS_INSTANCE, PAAS_RELEASE, DYNO.
	Env map[string]cluster.Redacted
}

// Instance is the assignment's name for people: "web.3".
func (a *Assignment) Instance() string {
	al := cluster.Allocation{Type: a.Type, Slot: a.Slot}
	return al.Instance()
}

// NodeCalls is what an agent does for its server.
type NodeCalls interface {
	Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error
	Exec(ctx context.Context, in ExecRequest, t Terminal) (int, error)
	Run(ctx context.Context, in RunRequest, t Terminal) (int, error)
}

// ServerCalls is what a server does for its agents' routers: the replicated
// certificate storage and the edge CA. Absent files are fs.ErrNotExist on both
// ends of the wire.
type ServerCalls interface {
	LoadFile(ctx context.Context, key string) (value []byte, modified time.Time, err error)
	StoreFile(ctx context.Context, key string, value []byte) error
	DeleteFile(ctx context.Context, key string) error
	ListFiles(ctx context.Context, prefix string) ([]string, error)
	// Lock takes or renews a lease for ttl; another holder's lease is KindConflict.
	// ttl 0 gives it back.
	Lock(ctx context.Context, name, holder string, ttl time.Duration) error
	// SignEdge signs a certificate request (DER) for private host names with the
	// edge CA; the answer is the PEM chain.
	SignEdge(ctx context.Context, csr []byte) ([]byte, error)
}

// NodeEvents is how a server hears its agents. Calls for one node come one at a
// time, in order, but for NodeAlive and NodeDesired, which come beside them. An
// error ends the session; the agent comes back with everything in its Hello.
type NodeEvents interface {
	// NodeJoined begins a session.
	NodeJoined(ctx context.Context, h Hello) (Welcome, error)
	NodeObserved(ctx context.Context, node cluster.NodeID, news News) error
	NodeRouter(ctx context.Context, status cluster.RouterStatus) error
	// NodeAlive hears any message; space is nil when it says nothing of disks.
	NodeAlive(node cluster.NodeID, space []cluster.Space)
	NodeLeft(node cluster.NodeID)
	// NodeDesired blocks until what node should have, serve or know is newer than what
	// it has, and returns it.
	NodeDesired(ctx context.Context, node cluster.NodeID, has Indexes) (Desired, error)
}

// Indexes say how new the sets are that a node has; zero: it has none.
type Indexes struct{ Assignments, Routes, Roster uint64 }

// Desired is a node's news; nil parts did not change.
type Desired struct {
	Assignments *AssignmentSet
	Routes      *cluster.RouteTable
	Roster      *cluster.Roster
}
