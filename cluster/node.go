package cluster

import (
	"net/netip"
	"time"
)

// Node is one host.
type Node struct {
	ID        NodeID    `json:"id"`
	Name      string    `json:"name"` // host name, for people
	Zone      string    `json:"zone"`
	CreatedAt time.Time `json:"created_at"`

	// Server, Router and Apps say what the host does. Apps is false with --no-apps.
	Server bool `json:"server,omitempty"`
	Router bool `json:"router,omitempty"`
	Apps   bool `json:"apps"`

	// Cordoned keeps new allocations away; Draining also moves away those it has.
	// Operators write both, and OperatorLabels, which go before Labels of the same key.
	Cordoned       bool              `json:"cordoned,omitempty"`
	Draining       bool              `json:"draining,omitempty"`
	OperatorLabels map[string]string `json:"operator_labels,omitempty"`

	// State is the leader's judgement; StateAt is when it last changed.
	State   NodeState `json:"state"`
	StateAt time.Time `json:"state_at"`

	// What follows is reported by the node's agent when its session begins.
	Address       string            `json:"address"` // host:port of the port between hosts
	Labels        map[string]string `json:"labels,omitempty"`
	Arch          string            `json:"arch"` // GOARCH
	Version       string            `json:"version"`
	FeatureLevel  int               `json:"feature_level,omitempty"` // of its program, see the constant
	DockerVersion string            `json:"docker_version,omitempty"`
	MemoryBytes   int64             `json:"memory_bytes"` // capacity for allocations
	CPUMilli      int64             `json:"cpu_milli"`
}

// Schedule is what operators allow on n.
func (n *Node) Schedule() NodeSchedule {
	switch {
	case n.Draining:
		return ScheduleDraining
	case n.Cordoned:
		return ScheduleCordoned
	}
	return ScheduleOpen
}

// Schedulable reports whether new allocations may go to n.
func (n *Node) Schedulable() bool {
	return n.Apps && n.State == NodeUp && !n.Cordoned && !n.Draining
}

// FeatureLevel is this program's: it rises with every version that brings commands
// which older ones do not know.
const FeatureLevel = 2

// Settings is what the whole cluster shares. It is written once at bootstrap;
// only operators change it later.
type Settings struct {
	ID        ClusterID `json:"id"`
	Domain    Hostname  `json:"domain"` // apps live at NAME.DOMAIN; "localhost" is allowed here
	CreatedAt time.Time `json:"created_at"`
	// CACertificate (PEM) signs nodes and the API; EdgeCACertificate signs private
	// host names that the router serves. Their keys are sealed.
	CACertificate     string `json:"ca_certificate"`
	CAKey             Secret `json:"ca_key"`
	EdgeCACertificate string `json:"edge_ca_certificate"`
	EdgeCAKey         Secret `json:"edge_ca_key"`
	// FeatureLevel gates new command types: it rises only when all servers know them.
	// 0 means 1.
	FeatureLevel int `json:"feature_level"`
}

// Host returns the app's default host name.
func (s *Settings) Host(app AppName) Hostname {
	return Hostname(string(app) + "." + string(s.Domain))
}

// Token is an API credential. Only a hash of its secret half is kept.
type Token struct {
	ID        TokenID   `json:"id"`
	Name      string    `json:"name"`
	Hash      []byte    `json:"-" cbor:"hash"` // SHA-256 of the secret half, which has 256 random bits
	Scope     Scope     `json:"scope"`
	Apps      []AppName `json:"apps,omitempty"` // empty means all
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero means never
	// Once makes the token good for a single exchange into a lasting one: the first
	// admin's one-time login.
	Once bool `json:"once,omitempty"`
}

// Event is one line of the audit: who changed what, when. Every command that
// changes something a person can see makes one.
type Event struct {
	Index  uint64    `json:"index"` // Raft index: the SSE event id
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`  // token name, "scheduler", "agent NAME", "paas"
	Action string    `json:"action"` // "app.created", "release.created", "deployment.failed", "config.set", …
	App    AppName   `json:"app,omitempty"`
	Target string    `json:"target,omitempty"` // "v7", "web.3", "shop.example.com"
	Text   string    `json:"text"`             // one line for people; never a secret
}

// File is an entry of the replicated certificate storage.
type File struct {
	Key        string    `json:"key"`
	Value      Secret    `json:"value"`
	ModifiedAt time.Time `json:"modified_at"`
}

// Lock is a lease in the replicated certificate storage.
type Lock struct {
	Name      string    `json:"name"`
	Holder    string    `json:"holder"`
	ExpiresAt time.Time `json:"expires_at"`
}

// RouteTable is what routers serve: a pure function of a State.
type RouteTable struct {
	Index uint64 `json:"index"`
	// Domain is the cluster's own; "" in tables of older servers.
	Domain Hostname `json:"domain,omitempty"`
	// Routes is sorted by host.
	Routes []Route `json:"routes"`
}

// Route sends one host name to an app's web replicas.
type Route struct {
	Host      Hostname   `json:"host"`
	App       AppName    `json:"app"`
	Upstreams []Upstream `json:"upstreams,omitempty"` // sorted by allocation; empty: no healthy replica
	// Internal asks for a certificate of the cluster's own edge CA instead of ACME.
	Internal bool `json:"internal"`
	// Idle says that no web replica is wanted: scaled to zero, or never deployed.
	Idle bool `json:"idle,omitempty"`
}

// Upstream is one healthy replica.
type Upstream struct {
	Allocation AllocationID `json:"allocation"`
	Instance   string       `json:"instance"` // "web.3"
	Node       NodeID       `json:"node"`
	Zone       string       `json:"zone"`
	Address    string       `json:"address"` // host:port on Node
}

// RouterStatus is what one router last acknowledged. It lives in the leader's
// memory, never in Raft.
type RouterStatus struct {
	Node NodeID `json:"node"`
	// Index of the table that every new request meets.
	Index uint64 `json:"index"`
	// InFlight counts requests and upgraded connections per allocation that is in
	// no table any more but still has some.
	InFlight map[AllocationID]int `json:"in_flight,omitempty"`
	// Silent is since when allocations of that table that take connections owe an
	// answer to anything. The router asks them only when there is no other.
	Silent map[AllocationID]time.Time `json:"silent,omitempty"`
}

// ParseAddress checks that s is IP:port or host:port with a port in range.
func ParseAddress(field, s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, Invalid(field, "%s %s is not an address", field, quote(s)).WithHint("an address looks like 127.0.0.1:8080")
	}
	return ap, nil
}
