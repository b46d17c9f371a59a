package cluster

import "fmt"

// Enums are stored as numbers (append only, never renumber) and shown as text.

func enumName[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown(%d)", uint8(v))
}

func enumParse[T ~uint8](what string, names []string, v *T, text []byte) error {
	for i, n := range names {
		if n == string(text) {
			*v = T(i)
			return nil
		}
	}
	return Invalid("enum", "%s %s is not known", what, quote(string(text))).Because("known: %v", names)
}

// ReleaseState says what became of a release.
type ReleaseState uint8

const (
	ReleaseUnknown   ReleaseState = iota
	ReleasePending                // its deployment has not ended
	ReleaseSucceeded              // it became healthy once: eligible for rollback
	ReleaseFailed                 // its deployment failed or was cancelled
)

var releaseStateNames = []string{"unknown", "pending", "succeeded", "failed"}

func (s ReleaseState) String() string               { return enumName(releaseStateNames, s) }
func (s ReleaseState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *ReleaseState) UnmarshalText(b []byte) error {
	return enumParse("release state", releaseStateNames, s, b)
}

// BuildState says how far a build is. It only moves forward.
type BuildState uint8

const (
	BuildUnknown BuildState = iota
	BuildRunning
	BuildSucceeded
	BuildFailed
	BuildCancelled
)

var buildStateNames = []string{"unknown", "running", "succeeded", "failed", "cancelled"}

func (s BuildState) String() string               { return enumName(buildStateNames, s) }
func (s BuildState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *BuildState) UnmarshalText(b []byte) error {
	return enumParse("build state", buildStateNames, s, b)
}

// Ended reports whether the build will not change any more.
func (s BuildState) Ended() bool { return s >= BuildSucceeded }

// DeploymentState says how far a deployment is. It only moves forward.
type DeploymentState uint8

const (
	DeploymentUnknown   DeploymentState = iota
	DeploymentReleasing                 // the release command has to run or is running
	DeploymentRolling                   // replicas are being replaced
	DeploymentSucceeded
	DeploymentFailed
	DeploymentCancelled
)

var deploymentStateNames = []string{"unknown", "releasing", "rolling", "succeeded", "failed", "cancelled"}

func (s DeploymentState) String() string               { return enumName(deploymentStateNames, s) }
func (s DeploymentState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *DeploymentState) UnmarshalText(b []byte) error {
	return enumParse("deployment state", deploymentStateNames, s, b)
}

// Ended reports whether the deployment will not change any more.
func (s DeploymentState) Ended() bool { return s >= DeploymentSucceeded }

// DesiredState is what the scheduler wants of an allocation. It only moves forward.
type DesiredState uint8

const (
	DesiredUnknown DesiredState = iota
	DesiredRun                  // exists, runs, is routed when healthy
	DesiredDrain                // runs on, is out of every route; the routers finish its requests
	DesiredStop                 // SIGTERM, grace, SIGKILL, remove
)

var desiredNames = []string{"unknown", "run", "drain", "stop"}

func (s DesiredState) String() string               { return enumName(desiredNames, s) }
func (s DesiredState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *DesiredState) UnmarshalText(b []byte) error {
	return enumParse("desired state", desiredNames, s, b)
}

// AllocationState is what the agent sees of an allocation.
type AllocationState uint8

const (
	AllocationPending   AllocationState = iota // not yet seen by the agent
	AllocationPulling                          // fetching the image
	AllocationStarting                         // the container runs, its check has not passed yet
	AllocationHealthy                          // its check passes
	AllocationUnhealthy                        // its check fails: it passed before, or the boot limit ran out
	AllocationBackoff                          // it exited; the agent waits before it starts it again
	AllocationStopping                         // SIGTERM was sent
	AllocationStopped                          // gone, as desired
	AllocationFailed                           // gone or never started, and the agent will not try again
)

var allocationStateNames = []string{"pending", "pulling", "starting", "healthy", "unhealthy", "backoff",
	"stopping", "stopped", "failed"}

func (s AllocationState) String() string               { return enumName(allocationStateNames, s) }
func (s AllocationState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *AllocationState) UnmarshalText(b []byte) error {
	return enumParse("allocation state", allocationStateNames, s, b)
}

// Terminal reports whether nothing of the allocation is left on its node.
func (s AllocationState) Terminal() bool { return s == AllocationStopped || s == AllocationFailed }

// NodeState is the control plane's judgement of a node.
type NodeState uint8

const (
	NodeUnknown NodeState = iota
	NodeUp
	NodeDown // silent for longer than its lease
)

var nodeStateNames = []string{"unknown", "up", "down"}

func (s NodeState) String() string               { return enumName(nodeStateNames, s) }
func (s NodeState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *NodeState) UnmarshalText(b []byte) error {
	return enumParse("node state", nodeStateNames, s, b)
}

// NodeSchedule is what an operator allows on a node.
type NodeSchedule uint8

const (
	ScheduleUnknown  NodeSchedule = iota
	ScheduleOpen                  // new allocations may come
	ScheduleCordoned              // none come; those that are there stay
	ScheduleDraining              // none come, and those that are there move away
)

var nodeScheduleNames = []string{"unknown", "open", "cordoned", "draining"}

func (s NodeSchedule) String() string               { return enumName(nodeScheduleNames, s) }
func (s NodeSchedule) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *NodeSchedule) UnmarshalText(b []byte) error {
	return enumParse("node schedule", nodeScheduleNames, s, b)
}

// CheckKind says how a replica's health is seen.
type CheckKind uint8

const (
	CheckNone CheckKind = iota // running is healthy (process types without a port)
	CheckTCP                   // a connection to $PORT succeeds: the default of web
	CheckHTTP                  // GET Path on $PORT answers 200–399
)

var checkKindNames = []string{"none", "tcp", "http"}

func (s CheckKind) String() string               { return enumName(checkKindNames, s) }
func (s CheckKind) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
func (s *CheckKind) UnmarshalText(b []byte) error {
	return enumParse("check kind", checkKindNames, s, b)
}

// Scope is a right that a token carries. Higher scopes include lower ones.
type Scope uint8

const (
	ScopeNone   Scope = iota
	ScopeRead         // see everything but config values
	ScopeDeploy       // push, scale, restart, config, domains, run, exec, logs
	ScopeAdmin        // apps of others, tokens, nodes, backup, export
	scopesEnd         // keep last
)

var scopeNames = []string{"none", "read", "deploy", "admin"}

func (s Scope) String() string                { return enumName(scopeNames, s) }
func (s Scope) MarshalText() ([]byte, error)  { return []byte(s.String()), nil }
func (s *Scope) UnmarshalText(b []byte) error { return enumParse("scope", scopeNames, s, b) }
