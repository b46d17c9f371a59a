package cluster

import (
	"fmt"
	"time"
)

// Allocation is one replica in one place: app, process type, slot, attempt. A
// slot is what people see ("web.3"); each replacement of what runs in a slot is
// the next attempt, so two attempts of a slot may overlap during a rollout.
type Allocation struct {
	ID         AllocationID   `json:"id"`
	App        AppName        `json:"app"`
	Type       ProcessType    `json:"type"`
	Slot       int            `json:"slot"`    // from 1
	Attempt    int            `json:"attempt"` // from 1, rises per slot
	Release    ReleaseVersion `json:"release"`
	Generation uint64         `json:"generation,omitempty"`
	Node       NodeID         `json:"node"`
	CreatedAt  time.Time      `json:"created_at"`
	// Mounts are the volumes of its process type when it was placed.
	Mounts []Mount `json:"mounts,omitempty"`
	// Moves is the attempt of the same slot whose place this one takes, for the sake
	// of the spread alone; "" for all others.
	Moves AllocationID `json:"moves,omitempty"`

	// Desired is written by the scheduler and only moves forward.
	Desired DesiredState `json:"desired"`
	// DesiredIndex is the Raft index at which Desired last changed: every router
	// whose table is at least this new knows.
	DesiredIndex uint64 `json:"desired_index"`
	// DesiredAt is the proposer's time of that change: drain deadlines count from it.
	DesiredAt time.Time `json:"desired_at"`

	// Observed is written by the allocation's agent only.
	Observed Observation `json:"observed"`
	// ObservedIndex is the Raft index at which Observed last changed.
	ObservedIndex uint64 `json:"observed_index"`
	// HealthyAt is the proposer's time at which Observed became healthy; zero unless
	// it is. Rollouts count from it: Observed.HealthySince is the clock of one host.
	HealthyAt time.Time `json:"healthy_at,omitzero"`
}

// Observe takes over what a's agent saw, recorded at a Raft index and by the
// proposer's clock. A replica that was healthy and is since the same moment keeps
// its HealthyAt.
func (a *Allocation) Observe(o Observation, index uint64, at time.Time) {
	was := a.Observed
	a.Observed, a.ObservedIndex = o, index
	switch {
	case o.State != AllocationHealthy:
		a.HealthyAt = time.Time{}
	case was.State != AllocationHealthy || !was.HealthySince.Equal(o.HealthySince):
		a.HealthyAt = at
	}
}

// Instance is the allocation's name for people: "web.3".
func (a *Allocation) Instance() string { return fmt.Sprintf("%s.%d", a.Type, a.Slot) }

// Routed reports whether routers may send requests to a.
func (a *Allocation) Routed() bool {
	return a.Type == ProcessWeb && a.Desired == DesiredRun && a.Observed.State == AllocationHealthy && a.Observed.Address != ""
}

// Doubtful reports whether a did serve and runs, but does not pass its check.
// Routers may send it requests when too few replicas are better. One that never
// passed a check has no address.
func (a *Allocation) Doubtful() bool {
	return a.Type == ProcessWeb && a.Desired == DesiredRun && a.Observed.State == AllocationUnhealthy && a.Observed.Address != ""
}

// LeastServing is how many of wanted replicas failing checks leave in service:
// half of them, rounded up. Checks fail together when what they all depend on does,
// or when the check is wrong; an app without any replica serves nobody.
func LeastServing(wanted int) int { return wanted - wanted/2 }

// Live reports whether a still takes its node's resources.
func (a *Allocation) Live() bool { return !a.Observed.State.Terminal() }

// Observation is what an agent last saw of an allocation. Agents send one only
// when it differs from the last.
//
// During a rollout the scheduler reads a replica's end from it: OOM is
// "rollout.oom"; AllocationFailed without a container that ever started
// "rollout.image"; AllocationBackoff, or Restarts above 0, "rollout.crashed";
// AllocationUnhealthy (a failed check streak, or the boot limit), or
// AllocationFailed after a start, "rollout.unhealthy".
type Observation struct {
	State        AllocationState `json:"state"`
	ContainerID  string          `json:"container_id,omitempty"`
	Address      string          `json:"address,omitempty"` // host:port on the node, "" if it listens on nothing
	StartedAt    time.Time       `json:"started_at,omitzero"`
	HealthySince time.Time       `json:"healthy_since,omitzero"` // zero unless healthy; by the host's clock, for people
	Restarts     int             `json:"restarts,omitempty"`     // after ends of its own, since the platform last started it
	ExitCode     int             `json:"exit_code,omitempty"`    // of the last exit
	OOM          bool            `json:"oom,omitempty"`          // the last exit was the kernel's doing
	// Ailing says that it is unhealthy for so long that it should be replaced. It runs
	// on meanwhile: who sees one replica only cannot know what else still serves.
	Ailing bool `json:"ailing,omitempty"`
	// Reason is one line for people about State: "exited with code 1 after 0.8s",
	// "GET /healthz answered 503".
	Reason string `json:"reason,omitempty"`
}

// Bad reports whether what o saw cannot serve and is not on its way to: a check
// that fails, an exit.
func (o *Observation) Bad() bool {
	return o.State >= AllocationUnhealthy || o.Restarts > 0 && o.State != AllocationHealthy
}

// Placement asks for a new allocation. The store gives it its ID.
type Placement struct {
	App        AppName        `json:"app"`
	Type       ProcessType    `json:"type"`
	Slot       int            `json:"slot"`
	Attempt    int            `json:"attempt"`
	Release    ReleaseVersion `json:"release"`
	Generation uint64         `json:"generation"`
	Node       NodeID         `json:"node"`
	// Moves is the allocation that the new one is to take the place of, for the sake of
	// the spread: it is dropped if that one does not run any more.
	Moves AllocationID `json:"moves,omitempty"`
}

// DeploymentUpdate moves a deployment forward. A zero State records progress only.
type DeploymentUpdate struct {
	ID      DeploymentID    `json:"id"`
	State   DeploymentState `json:"state"`
	Failure *Failure        `json:"failure,omitempty"`
}

// Unplaced is a replica that fits nowhere, and why, filter by filter.
type Unplaced struct {
	App     AppName     `json:"app"`
	Type    ProcessType `json:"type"`
	Slot    int         `json:"slot"`
	Reasons []string    `json:"reasons"` // "node-1 (zone a): 128 MiB free, needs 256 MiB"
}

// Plan is what the scheduler wants changed. It is data: the store commits it as
// one command, checks that it still fits, and rejects what does not.
type Plan struct {
	// Index is the state's index that the plan was computed from.
	Index       uint64             `json:"index"`
	Place       []Placement        `json:"place,omitempty"`
	Drain       []AllocationID     `json:"drain,omitempty"`  // run → drain
	Stop        []AllocationID     `json:"stop,omitempty"`   // run or drain → stop
	Forget      []AllocationID     `json:"forget,omitempty"` // terminal and desired stop: drop from the state
	Deployments []DeploymentUpdate `json:"deployments,omitempty"`
	// RemoveApps lists apps being destroyed that have nothing left.
	RemoveApps []AppName `json:"remove_apps,omitempty"`

	// Unplaced and Next are for the caller and never committed.
	Unplaced []Unplaced `json:"-" cbor:"-"`
	// Next is when the plan must be computed again even if nothing changes; zero
	// means never.
	Next time.Time `json:"-" cbor:"-"`
}

// Empty reports whether committing p would change nothing.
func (p *Plan) Empty() bool {
	return len(p.Place) == 0 && len(p.Drain) == 0 && len(p.Stop) == 0 && len(p.Forget) == 0 &&
		len(p.Deployments) == 0 && len(p.RemoveApps) == 0
}
