package store

import (
	"time"

	"paas/cluster"
)

// A Command is one change of the state: plain data, applied deterministically on
// every server. Clock readings and random IDs are its fields, stamped by the
// proposer. What apply refuses comes back from Propose as a *cluster.Error and
// has changed nothing.
type Command interface {
	// Type is the command's number in the log; never reused, never renumbered.
	Type() CommandType
	// apply writes to d. It must not read clocks, random numbers or maps in map
	// order, must not block, and must leave nothing half done when it returns an
	// error: the draft is then thrown away.
	apply(d *cluster.Draft) (Outcome, error)
	// by says who proposed it; commands get it by embedding By.
	by() By
}

// CommandType identifies a command in the log.
type CommandType uint16

// Outcome names what a command made. Fields that do not apply are zero.
type Outcome struct {
	// Index is the state's index after the command: the command's own, or the older
	// one if there was nothing to change.
	Index      uint64
	Release    cluster.ReleaseVersion
	Deployment cluster.DeploymentID
	Build      cluster.BuildID
	Node       cluster.NodeID
	// Rejected lists placements of a plan that no longer fitted.
	Rejected int
}

// By says who changes something, and when, by the proposer's clock in UTC.
type By struct {
	Actor string    `json:"actor"`
	At    time.Time `json:"at"`
}

// Bootstrap makes a cluster out of nothing. It is refused when there is one.
type Bootstrap struct {
	By
	Settings cluster.Settings
}

// CreateApp makes an app.
type CreateApp struct {
	By
	Name         cluster.AppName
	DeployBranch string
}

// UpdateApp changes an app's settings; nil fields stay.
type UpdateApp struct {
	By
	Name         cluster.AppName
	DeployBranch *string
}

// DestroyApp begins the end of an app: its replicas are stopped, its routes and
// domains go at once, its name is free again when nothing of it is left.
type DestroyApp struct {
	By
	Name cluster.AppName
}

// ChangeConfig sets and unsets config variables. If the app has a serving
// release it makes a new release from it with a deployment.
type ChangeConfig struct {
	By
	App   cluster.AppName
	Set   map[string]cluster.Secret
	Unset []string
}

// Scale sets the wanted quantity of process types.
type Scale struct {
	By
	App        cluster.AppName
	Quantities map[cluster.ProcessType]int
}

// Restart replaces the replicas of the given types (all if none), surge by surge.
type Restart struct {
	By
	App   cluster.AppName
	Types []cluster.ProcessType
}

// CreateRelease makes a release from a finished build or image and begins its
// deployment. It is refused while another deployment of the app is active.
type CreateRelease struct {
	By
	App         cluster.AppName
	Description string
	Build       cluster.BuildID
	Commit      string
	Image       cluster.Image
	Processes   map[cluster.ProcessType]cluster.Process
	Rollout     cluster.Rollout
	// DefaultConfig is set for keys that the app does not have yet (app.json env).
	DefaultConfig map[string]cluster.Secret
	// DefaultFormation is used for types without a quantity, on the first release only;
	// a type with a volume gets one at most.
	DefaultFormation map[cluster.ProcessType]int
	// Push is the branch that moves when the deployment succeeds, at the same index;
	// nil if it comes of no push.
	Push *cluster.RefMove
}

// MoveRefs records where an app's git refs are, all together. It is refused if one
// of them is neither where its move begins nor where it ends. Born is the app's
// CreatedAt: another app of the name inherits nothing.
type MoveRefs struct {
	By
	App   cluster.AppName
	Born  time.Time
	Moves []cluster.RefMove
}

// BeginCommand records that a deployment's release command is about to be run. It is
// refused with CodeCommandBegun when it was before: nobody knows then what became of it.
type BeginCommand struct {
	By
	Deployment cluster.DeploymentID
}

// CodeCommandBegun is of a release command that is not run a second time.
const CodeCommandBegun = "command_begun"

// Rollback makes a new release from an old one, config included. To is 0 for
// the newest succeeded release before the current one. Only succeeded releases
// are eligible.
type Rollback struct {
	By
	App cluster.AppName
	To  cluster.ReleaseVersion
}

// StartBuild records that a build runs; Outcome.Build is its ID.
type StartBuild struct {
	By
	App    cluster.AppName
	Commit string
	Node   cluster.NodeID
}

// FinishBuild ends a build; State must be an ended one.
type FinishBuild struct {
	By
	ID      cluster.BuildID
	State   cluster.BuildState
	Method  string
	Reason  string
	Image   cluster.Image
	Failure string
}

// ApplyPlan commits a plan. Placements are checked against the newest state
// (node schedulable, capacity, slot free, release there) and dropped one by one
// when they no longer fit. Moves that no longer apply are skipped, and so is the
// end of what should run when its app changed, or a replica of it turned bad,
// after Plan.Index.
type ApplyPlan struct {
	By
	Plan cluster.Plan
}

// Observe records what an agent saw. Observations of allocations that are
// unknown or of another node are skipped.
type Observe struct {
	By
	Node         cluster.NodeID
	Observations []AllocationObservation
}

// AllocationObservation is one allocation's news.
type AllocationObservation struct {
	ID          cluster.AllocationID
	Observation cluster.Observation
}

// RegisterNode adds a node or renews what its agent reports about it. Operator
// fields and State of a known node stay as they are.
type RegisterNode struct {
	By
	Node cluster.Node
}

// SetNodeState records the leader's judgement.
type SetNodeState struct {
	By
	ID    cluster.NodeID
	State cluster.NodeState
}

// RemoveNode ends a node's membership: its record goes, and its certificate is
// refused from then on. It is refused for a node that runs something, unless the
// node is down or Force is set, and while it has data of volumes unless Force is set:
// its replicas are then replaced elsewhere, but for those whose volume is there.
type RemoveNode struct {
	By
	ID cluster.NodeID
	// Until is when no certificate of the node can be valid any more.
	Until time.Time
	Force bool
}

// CreateJoin stores the hash of a join string's secret.
type CreateJoin struct {
	By
	Join cluster.Join
}

// RedeemJoin uses up a join string and makes the host a node: Outcome.Node. The
// same key may come again and gets the same node; KindUnauthenticated for any
// other. Node.Server is the role that the host asks for; it must be the string's.
type RedeemJoin struct {
	By
	ID   cluster.TokenID
	Key  []byte // SHA-256 of the host's public key
	Node cluster.Node
}

// RevokeJoin makes a join string good for nothing. A host that joined with it stays.
type RevokeJoin struct {
	By
	ID cluster.TokenID
}

// ScheduleNode says what an operator allows on a node.
type ScheduleNode struct {
	By
	ID       cluster.NodeID
	Schedule cluster.NodeSchedule
}

// LabelNode sets and unsets labels of operators'. What the agent reports is not
// theirs to unset.
type LabelNode struct {
	By
	ID    cluster.NodeID
	Set   map[string]string
	Unset []string
}

// AddDomain routes a host name to an app.
type AddDomain struct {
	By
	Host cluster.Hostname
	App  cluster.AppName
}

// RemoveDomain ends a route. App must be the domain's own.
type RemoveDomain struct {
	By
	Host cluster.Hostname
	App  cluster.AppName
}

// CreateToken stores a token's hash.
type CreateToken struct {
	By
	Token cluster.Token
}

// ExchangeToken consumes a one-time token and stores its lasting successor.
type ExchangeToken struct {
	By
	Once  cluster.TokenID
	Token cluster.Token
}

// RevokeToken removes a token.
type RevokeToken struct {
	By
	ID cluster.TokenID
}

// PutFile writes an entry of the certificate storage.
type PutFile struct {
	By
	Key   string
	Value cluster.Secret
}

// DeleteFile removes an entry and everything below it.
type DeleteFile struct {
	By
	Key string
}

// AcquireLock takes or renews a lease until At+TTL. It is refused with
// KindConflict while another holder's lease runs.
type AcquireLock struct {
	By
	Name   string
	Holder string
	TTL    time.Duration
}

// ReleaseLock gives a lease back; not holding it is no error.
type ReleaseLock struct {
	By
	Name   string
	Holder string
}

// Audit records something that changes nothing else and must be known: a config
// value was revealed, somebody opened a shell. Text never holds a secret.
type Audit struct {
	By
	Action string // dotted: "config.revealed"
	App    cluster.AppName
	Target string
	Text   string
}
