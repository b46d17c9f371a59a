package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

// What the agent asks of a container engine. docker*.go is the one
// implementation; tests have another, and the same contract test runs on both.

// Errors that a runtime gives, wrapped; everything else is the engine's own text.
var (
	// errNoContainer: the container does not exist, or is not the cluster's.
	errNoContainer = errors.New("no such container")
	// errEngineDown: the engine cannot be reached. What it last said may still be true.
	errEngineDown = errors.New("container engine not reachable")
	// errNoImage: neither the engine nor the registry has the image, for good.
	errNoImage = errors.New("no such image")
	// errNoVolume: the data of a volume that a replica had before is not here.
	errNoVolume = errors.New("the data of a volume is not on this host")
)

// runtime is an engine, by what it is asked for.
type runtime struct {
	images     images
	containers containers
	volumes    volumes
	engine     engine
	terminals  terminals
	logs       logSource
}

// images makes images present, and takes those away that were.
type images interface {
	// Has reports whether the engine has the image, so that no registry is needed.
	Has(ctx context.Context, ref imageRef) (bool, error)
	// Fetch gets the image from its registry; errNoImage when that says it has none.
	Fetch(ctx context.Context, ref imageRef) error
	// Names are all names by digest that images with the cluster's label have.
	Names(ctx context.Context) ([]string, error)
	// Drop takes a name away, with the last one the image. One that is gone is gone;
	// what a container has stays.
	Drop(ctx context.Context, name string) (gone bool, err error)
}

// containers are the cluster's containers on this engine. Methods that take an
// ID refuse, with errNoContainer, what does not bear the cluster's label.
type containers interface {
	List(ctx context.Context) ([]container, error)
	Inspect(ctx context.Context, id string) (container, error)
	// Create makes a container and its place in the cluster's network. A leftover of
	// the same name is removed first. Its volumes are made if they are fresh; one that
	// is not and is not there is errNoVolume.
	Create(ctx context.Context, s spec) (id string, err error)
	Start(ctx context.Context, id string) error
	// Stop sends the stop signal, after grace SIGKILL, and returns when the container
	// ended. One that has ended is no error.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove kills and removes the container with its anonymous volumes. One that is
	// gone is no error.
	Remove(ctx context.Context, id string) error
}

// volumes are the cluster's volumes on this engine. What does not bear its label is
// not touched.
type volumes interface {
	// DestroyVolume removes a volume with its data. One that is gone is no error; one
	// that a container has, running or not, is.
	DestroyVolume(ctx context.Context, id cluster.VolumeID) error
}

// engine is the engine itself.
type engine interface {
	Info(ctx context.Context) (engineInfo, error)
	// Watch calls news for what happens to the cluster's containers until ctx ends
	// or the engine goes. It calls connected once, when nothing can be missed any more.
	Watch(ctx context.Context, connected func(), news func(containerEvent)) error
}

// terminals attach to commands.
type terminals interface {
	// Attach joins the streams of a created container, before it starts.
	Attach(ctx context.Context, id string, s spec) (stream, error)
	// Exec starts a command in a running container.
	Exec(ctx context.Context, id string, in api.ExecRequest) (stream, error)
}

// stream is an attached command. It is closed when the context that it was made
// with ends.
type stream interface {
	io.WriteCloser // the command's input; Close is its end
	// Output copies what the command prints until it ends. A TTY has no stderr.
	Output(stdout, stderr io.Writer) error
	Resize(ctx context.Context, rows, cols uint16) error
	// Signal sends a signal by name, without "SIG".
	Signal(ctx context.Context, name string) error
	// Exit is the command's exit code, after Output returned.
	Exit(ctx context.Context) (int, error)
}

// logSource reads what containers printed.
type logSource interface {
	// Logs calls line for each line kept, in order, then, with Follow, until the
	// container ends.
	Logs(ctx context.Context, id string, q logQuery, line func(logEntry) error) error
}

// logQuery chooses lines of one container.
type logQuery struct {
	Tail   int       // last N; 0 means none, -1 all
	Since  time.Time // strictly after; zero means from the start
	Follow bool
}

// logEntry is one line.
type logEntry struct {
	At     time.Time
	Stderr bool
	Text   string
}

// engineInfo is what the agent reports of its engine.
type engineInfo struct {
	Version     string
	Arch        string // GOARCH
	MemoryBytes int64
	CPUs        int
	Root        string // directory of images, containers and their logs
}

// containerEvent says that something happened to a container: look again.
type containerEvent struct {
	Container  string
	Allocation cluster.AllocationID
	OOM        bool
	Killed     bool // somebody had the engine end it
}

// container is what the engine says of one of the cluster's containers.
type container struct {
	ID         string
	Allocation cluster.AllocationID
	App        cluster.AppName
	Instance   string // "web.3"
	Spec       string // spec.hash of what it was made from
	Volumes    []cluster.VolumeID
	OneOff     string // for a one-off command, the agent's life that it belongs to
	Image      string // the name that it was made from

	// What follows is only filled by Inspect, but for Running.
	Running    bool
	Created    bool // never started
	IP         string
	PID        int
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int
	OOM        bool
	Error      string // why the engine could not start it
}

// imageRef names an image and where to fetch it.
type imageRef struct {
	Registry cluster.RegistryEndpoint
	Image    cluster.Image
}

// String is the reference that the engine understands. An image without a
// repository is one that only this engine has: its digest is then its ID.
func (r imageRef) String() string {
	if r.Image.Repository == "" {
		return r.Image.Digest
	}
	return r.Registry.Address + "/" + r.Image.Repository + "@" + r.Image.Digest
}

// spec is everything a container is made from.
type spec struct {
	Cluster    cluster.ClusterID
	Assignment api.Assignment
	Image      imageRef
	OneOff     *oneOff // nil for replicas
}

// oneOff is what is special about a command that somebody waits for.
type oneOff struct {
	Name string // makes the container's name unique
	Life string // of the agent: what an earlier one left is removed
	TTY  bool
}

// name is the container's: readable, and unique per allocation.
func (s spec) name() string {
	a := s.Assignment
	last := string(a.ID)
	if s.OneOff != nil {
		last = "run-" + s.OneOff.Name
	}
	return fmt.Sprintf("paas-%s-%s-%s-%d-%s", short(s.Cluster), a.App, a.Type, a.Slot, last)
}

// env is the environment in a fixed order.
func (s spec) env() []string {
	env := make([]string, 0, len(s.Assignment.Env))
	for _, k := range slices.Sorted(maps.Keys(s.Assignment.Env)) {
		env = append(env, k+"="+s.Assignment.Env[k].Reveal())
	}
	return env
}

// stopGrace is how long a process has from SIGTERM to SIGKILL.
func stopGrace(p cluster.Process) time.Duration {
	if p.StopGrace > 0 {
		return p.StopGrace
	}
	return cluster.DefaultStopGrace
}

// Labels of everything that the agent makes. They are how it finds its own
// again; nothing else is ever touched.
const (
	labelCluster    = "paas.cluster"
	labelApp        = "paas.app"
	labelProcess    = "paas.process"
	labelInstance   = "paas.instance"
	labelAllocation = "paas.allocation"
	labelRelease    = "paas.release"
	labelSpec       = "paas.spec"
	labelOneOff     = "paas.oneoff"
	labelVolume     = "paas.volume"  // of a volume: its ID
	labelVolumes    = "paas.volumes" // of a container: those that it has
	labelName       = "paas.name"    // of a volume: for people
)

// labels are the container's.
func (s spec) labels() map[string]string {
	a := s.Assignment
	l := map[string]string{
		labelCluster:    string(s.Cluster),
		labelApp:        string(a.App),
		labelProcess:    string(a.Type),
		labelInstance:   a.Instance(),
		labelAllocation: string(a.ID),
		labelRelease:    strconv.Itoa(int(a.Release)),
		labelSpec:       s.hash(),
	}
	if s.OneOff != nil {
		l[labelOneOff] = s.OneOff.Life
	}
	if len(a.Mounts) > 0 {
		var ids []string
		for _, m := range a.Mounts {
			ids = append(ids, string(m.Volume))
		}
		l[labelVolumes] = strings.Join(ids, ",")
	}
	return l
}

// volumeName is what the engine calls a volume: readable, and of one volume for ever.
func (s spec) volumeName(m cluster.Mount) string {
	return fmt.Sprintf("paas-%s-%s-%s-%s", short(s.Cluster), s.Assignment.App, m.Name, m.Volume)
}

// volumeLabels are that volume's.
func (s spec) volumeLabels(m cluster.Mount) map[string]string {
	return map[string]string{labelCluster: string(s.Cluster), labelApp: string(s.Assignment.App), labelName: string(m.Name), labelVolume: string(m.Volume)}
}

// short is the part of a cluster's ID that names carry.
func short(id cluster.ClusterID) string { return string(id[:min(8, len(id))]) }

// networkName is the cluster's bridge network.
func networkName(id cluster.ClusterID) string { return id.Network() }

// bridgeName is that network's interface on the host, at most 15 bytes.
func bridgeName(id cluster.ClusterID) string { return "p-" + short(id) }
