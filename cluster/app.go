package cluster

import (
	"strings"
	"time"
)

// App is one deployable application.
type App struct {
	Name      AppName   `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`

	// DeployBranch is the branch whose pushes deploy; "" means main and master.
	DeployBranch string `json:"deploy_branch,omitempty"`
	// Config is what the next release will carry. When a deployment fails it goes
	// back to the serving release's config.
	Config map[string]Secret `json:"config,omitempty"`
	// Formation is how many replicas of each process type are wanted. A type that
	// is missing gets 1 if it is web, else 0.
	Formation map[ProcessType]int `json:"formation,omitempty"`
	// Generation rises when somebody asks for a restart of a process type;
	// allocations of a lower generation are replaced one surge at a time.
	Generation map[ProcessType]uint64 `json:"generation,omitempty"`

	// Current is the release that serves; 0 before the first success.
	Current ReleaseVersion `json:"current"`
	// Latest is the highest release number in use.
	Latest ReleaseVersion `json:"latest"`
	// Destroying is set by a destroy: everything of the app is being removed, and
	// the app itself goes when its last allocation is gone.
	Destroying bool `json:"destroying,omitempty"`
	// Index is the Raft index of the app's last change.
	Index uint64 `json:"index"`
}

// Quantity returns how many replicas of t the app wants.
func (a *App) Quantity(t ProcessType) int {
	if n, ok := a.Formation[t]; ok {
		return n
	}
	if t == ProcessWeb {
		return 1
	}
	return 0
}

// Deploys reports whether a push to branch deploys the app.
func (a *App) Deploys(branch string) bool {
	if a.DeployBranch != "" {
		return branch == a.DeployBranch
	}
	return branch == "main" || branch == "master"
}

// MaxReplicas bounds the formation of one process type.
const MaxReplicas = 1000

// Release is one immutable version of an app: image, config and process table.
type Release struct {
	App         AppName                 `json:"app"`
	Version     ReleaseVersion          `json:"version"`
	CreatedAt   time.Time               `json:"created_at"`
	CreatedBy   string                  `json:"created_by"`
	Description string                  `json:"description"` // "Deploy 4f2c9e1", "Set LOG_LEVEL", "Rollback to v7"
	State       ReleaseState            `json:"state"`
	Build       BuildID                 `json:"build,omitempty"`
	Commit      string                  `json:"commit,omitempty"` // full hash
	Image       Image                   `json:"image"`
	Config      map[string]Secret       `json:"config,omitempty"`
	Processes   map[ProcessType]Process `json:"processes"`
	RollbackOf  ReleaseVersion          `json:"rollback_of,omitempty"`
	Rollout     Rollout                 `json:"rollout"`
}

// Image names bytes, never a tag: each agent forms the reference for its own
// registry endpoint from Repository and Digest.
type Image struct {
	Repository string `json:"repository"` // "apps/blog", in the embedded registry
	Digest     string `json:"digest"`     // "sha256:…" of the manifest
	SizeBytes  int64  `json:"size_bytes,omitempty"`
	// Arch is the GOARCH that the image runs on; "" means any node.
	Arch string `json:"arch,omitempty"`
}

// Process is how one process type runs.
type Process struct {
	// Command is the argument vector; empty means the image's own command. What
	// needs a shell is ["/bin/sh", "-c", "…"], run inside the container only.
	Command []string `json:"command,omitempty"`
	// KeepEntrypoint passes Command as arguments to the image's ENTRYPOINT;
	// otherwise the entrypoint is replaced.
	KeepEntrypoint bool          `json:"keep_entrypoint,omitempty"`
	Port           int           `json:"port,omitempty"` // $PORT; 0 for types that listen on nothing
	Check          Check         `json:"check"`
	MemoryBytes    int64         `json:"memory_bytes"`
	CPUMilli       int64         `json:"cpu_milli"`     // reservation and weight; the cap is the host's, the same for all
	StopGrace      time.Duration `json:"stop_grace_ns"` // SIGTERM to SIGKILL; 0 means DefaultStopGrace
	// Constraints say which nodes may run it; all of them have to hold.
	Constraints []Constraint `json:"constraints,omitempty"`
}

// RefusedBy returns the first constraint that n does not meet, or nil.
func (p *Process) RefusedBy(n *Node) *Constraint {
	for i := range p.Constraints {
		if !p.Constraints[i].Admits(n) {
			return &p.Constraints[i]
		}
	}
	return nil
}

// Check is a process type's health check.
type Check struct {
	Kind CheckKind `json:"kind"`
	Path string    `json:"path,omitempty"` // CheckHTTP only; starts with "/"
	// Boot is how long a replica may take to its first success; 0 means DefaultBootLimit.
	Boot     time.Duration `json:"boot_ns,omitempty"`
	Interval time.Duration `json:"interval_ns,omitempty"` // once healthy; 0 means DefaultCheckInterval
	Timeout  time.Duration `json:"timeout_ns,omitempty"`  // of one attempt; 0 means DefaultCheckTimeout
	// Failures in a row that make a healthy replica unhealthy; 0 means DefaultCheckFailures.
	Failures int `json:"failures,omitempty"`
}

// Defaults of a process. Heroku's: 60 s to boot (R10), 30 s from SIGTERM to
// SIGKILL (R12). Port 8080 is Fly's and most images'.
const (
	DefaultPort          = 8080
	DefaultMemoryBytes   = 256 << 20
	DefaultCPUMilli      = 100
	DefaultStopGrace     = 30 * time.Second
	DefaultBootLimit     = 60 * time.Second
	DefaultCheckInterval = 5 * time.Second
	DefaultCheckTimeout  = 5 * time.Second
	DefaultCheckFailures = 3
)

// Rollout is how a release replaces the one before it.
type Rollout struct {
	// Surge is how many replicas of a type may exist beyond its quantity; 0 means
	// the larger of 1 and a quarter of the quantity.
	Surge int `json:"surge,omitempty"`
	// MinHealthy is how long a new replica stays healthy before an old one
	// drains; 0 means DefaultMinHealthy.
	MinHealthy time.Duration `json:"min_healthy_ns,omitempty"`
	// Deadline without any progress fails the deployment, counted beside MinHealthy;
	// 0 means DefaultProgress.
	Deadline time.Duration `json:"deadline_ns,omitempty"`
	// Drain bounds how long a drained replica may finish its requests; 0 means DefaultDrain.
	Drain time.Duration `json:"drain_ns,omitempty"`
}

const (
	// DefaultMinHealthy catches processes that bind their port and then die.
	DefaultMinHealthy = 500 * time.Millisecond
	// DefaultProgress is the boot limit plus time to fetch the image.
	DefaultProgress = 3 * time.Minute
	// DefaultDrain is kamal-proxy's and Heroku's 30 s.
	DefaultDrain = 30 * time.Second
)

// SurgeOf returns the surge for quantity replicas.
func (r Rollout) SurgeOf(quantity int) int {
	if r.Surge > 0 {
		return r.Surge
	}
	return max(1, (quantity+3)/4)
}

// Patience is how long a rollout may be without any progress. A replica that has to be
// healthy for ten minutes is not late after three.
func (r Rollout) Patience() time.Duration {
	if r.Deadline > 0 {
		return r.Deadline + r.MinHealthy
	}
	return DefaultProgress + r.MinHealthy
}

// Build is one attempt to make an image from source.
type Build struct {
	ID         BuildID    `json:"id"`
	App        AppName    `json:"app"`
	State      BuildState `json:"state"`
	Method     string     `json:"method,omitempty"` // "dockerfile", "go", "node", "python", "static", "image"
	Reason     string     `json:"reason,omitempty"` // why this method
	Commit     string     `json:"commit,omitempty"`
	Image      Image      `json:"image"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	FinishedAt time.Time  `json:"finished_at,omitzero"`
	Failure    string     `json:"failure,omitempty"` // one line for people
	Node       NodeID     `json:"node"`              // where its log lies
}

// Deployment moves an app from one release to another. At most one per app is
// not ended.
type Deployment struct {
	ID         DeploymentID    `json:"id"`
	App        AppName         `json:"app"`
	Release    ReleaseVersion  `json:"release"`
	From       ReleaseVersion  `json:"from"` // 0 for the first
	State      DeploymentState `json:"state"`
	CreatedAt  time.Time       `json:"created_at"`
	ProgressAt time.Time       `json:"progress_at"` // last step forward; the deadline counts from here
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	Failure    *Failure        `json:"failure,omitempty"`
	// Push is what a git push asked for: the branch moves when the deployment succeeds.
	Push *RefMove `json:"push,omitempty"`
	// CommandAt is when the release command was begun, which is done once; zero before.
	CommandAt time.Time `json:"command_at,omitzero"`
	// Index is the Raft index of the last change.
	Index uint64 `json:"index"`
}

// Failure is the evidence of a deployment that was reverted. Log lines are not
// part of it: they may hold an app's secrets and never go through Raft.
type Failure struct {
	Code       string       `json:"code"` // "rollout.crashed", "rollout.unhealthy", "rollout.oom", "rollout.unplaceable", "rollout.deadline", "rollout.image", "release.failed", "cancelled"
	Message    string       `json:"message"`
	Allocation AllocationID `json:"allocation,omitempty"`
	Instance   string       `json:"instance,omitempty"` // "web.3"
	Node       NodeID       `json:"node,omitempty"`
	ExitCode   int          `json:"exit_code,omitempty"`
}

// Domain routes one host name to an app, beside NAME.DOMAIN.
type Domain struct {
	Host      Hostname  `json:"host"`
	App       AppName   `json:"app"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
}

// Private reports whether no public certificate authority would sign h:
// localhost, single labels, and the reserved or private suffixes of RFC 6761,
// RFC 8375 and common use.
func (h Hostname) Private() bool {
	s := "." + string(h)
	for _, suffix := range []string{".localhost", ".local", ".internal", ".test", ".lan", ".home.arpa", ".example", ".invalid"} {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return !strings.Contains(string(h), ".")
}
