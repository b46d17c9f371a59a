package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
)

// Programs that the tests run, on the fake and on a real engine alike.
var (
	sleeps   = []string{"sleep", "3600"}
	crashes  = []string{"sh", "-c", "echo boom; exit 3"}
	stubborn = []string{"sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"}
)

// program is how the fake plays one of them.
type program struct {
	output      []string
	ends        bool
	after       time.Duration
	code        int
	oom         bool
	ignoresTERM bool
}

var programs = map[string]program{
	strings.Join(sleeps, " "):   {},
	strings.Join(crashes, " "):  {ends: true, code: 3, output: []string{"boom"}},
	strings.Join(stubborn, " "): {ignoresTERM: true, output: []string{"deaf"}},
	"oom":                       {ends: true, after: time.Second, code: 137, oom: true},
	"crash-later":               {ends: true, after: 2 * time.Minute, code: 1, output: []string{"late"}},
}

// fakeRuntime is an engine in memory. It keeps time like everybody in a bubble.
type fakeRuntime struct {
	mu         sync.Mutex
	images     map[string]bool
	registry   map[string]error // what Fetch says; absent: errNoImage
	containers map[string]*fakeContainer
	volumes    map[cluster.VolumeID]bool
	shared     []string // containers that ran with one volume at a time
	down       bool
	made       int
	watchers   []chan containerEvent
}

type fakeContainer struct {
	container
	spec spec
	logs []logEntry
}

func newFake() *fakeRuntime {
	return &fakeRuntime{images: map[string]bool{}, registry: map[string]error{}, containers: map[string]*fakeContainer{}, volumes: map[cluster.VolumeID]bool{}}
}

func (f *fakeRuntime) runtime() runtime {
	return runtime{images: f, containers: f, volumes: f, engine: f, logs: f}
}

// lock begins a call; with an error when the engine is down.
func (f *fakeRuntime) lock() error {
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return errEngineDown
	}
	return nil
}

func (f *fakeRuntime) setDown() {
	f.mu.Lock()
	f.down = true
	for _, w := range f.watchers {
		close(w)
	}
	f.watchers = nil
	f.mu.Unlock()
}

func (f *fakeRuntime) setUp() { f.mu.Lock(); f.down = false; f.mu.Unlock() }

func (f *fakeRuntime) Has(_ context.Context, ref imageRef) (bool, error) {
	if err := f.lock(); err != nil {
		return false, err
	}
	defer f.mu.Unlock()
	return f.images[ref.String()], nil
}

func (f *fakeRuntime) Fetch(_ context.Context, ref imageRef) error {
	if err := f.lock(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	err, ok := f.registry[ref.String()]
	if !ok {
		return fmt.Errorf("%w: %s", errNoImage, ref)
	}
	f.images[ref.String()] = err == nil
	return err
}

func (f *fakeRuntime) Names(context.Context) ([]string, error) {
	if err := f.lock(); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	var out []string
	for name, has := range f.images {
		if has && strings.Contains(name, "@") {
			out = append(out, name)
		}
	}
	return out, nil
}

func (f *fakeRuntime) Drop(_ context.Context, name string) (bool, error) {
	if err := f.lock(); err != nil {
		return false, err
	}
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if c.Image == name {
			return false, nil
		}
	}
	delete(f.images, name)
	return true, nil
}

func (f *fakeRuntime) List(context.Context) ([]container, error) {
	if err := f.lock(); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	var out []container
	for _, id := range slices.Sorted(maps.Keys(f.containers)) {
		out = append(out, f.containers[id].container)
	}
	return out, nil
}

func (f *fakeRuntime) Inspect(_ context.Context, id string) (container, error) {
	if err := f.lock(); err != nil {
		return container{}, err
	}
	defer f.mu.Unlock()
	if c, ok := f.containers[id]; ok {
		return c.container, nil
	}
	return container{}, errNoContainer
}

func (f *fakeRuntime) Create(_ context.Context, s spec) (string, error) {
	if err := f.lock(); err != nil {
		return "", err
	}
	defer f.mu.Unlock()
	if name := s.Image.String(); name != "" && !f.images[name] {
		return "", errors.New("no such image: " + name)
	}
	for _, m := range s.Assignment.Mounts {
		if !f.volumes[m.Volume] && !m.Fresh {
			return "", errNoVolume
		}
		f.volumes[m.Volume] = true
	}
	for id, c := range f.containers {
		if c.spec.name() == s.name() {
			f.finish(c, 137)
			delete(f.containers, id)
		}
	}
	f.made++
	c := &fakeContainer{spec: s, container: labelled(fmt.Sprintf("c%d", f.made), s.labels())}
	c.Created, c.Image = true, s.Image.String()
	f.containers[c.ID] = c
	return c.ID, nil
}

func (f *fakeRuntime) Start(_ context.Context, id string) error {
	if err := f.lock(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	c, ok := f.containers[id]
	if !ok {
		return errNoContainer
	}
	for _, o := range f.containers {
		if o != c && o.Running && slices.ContainsFunc(o.Volumes, func(v cluster.VolumeID) bool { return slices.Contains(c.Volumes, v) }) {
			f.shared = append(f.shared, string(o.Allocation)+" and "+string(c.Allocation))
		}
	}
	p, ok := programs[strings.Join(c.spec.Assignment.Process.Command, " ")]
	if !ok {
		return errors.New("executable file not found")
	}
	c.Created, c.Running, c.StartedAt, c.PID, c.IP = false, true, time.Now(), 4711, "10.0.0."+id[1:]
	for _, l := range p.output {
		c.logs = append(c.logs, logEntry{At: time.Now(), Text: l})
	}
	if p.ends {
		time.AfterFunc(p.after, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			c.OOM = c.Running && p.oom
			f.finish(c, p.code)
		})
	}
	return nil
}

// finish ends a container and tells the watchers. Callers hold mu.
func (f *fakeRuntime) finish(c *fakeContainer, code int) {
	if !c.Running {
		return
	}
	c.Running, c.ExitCode, c.FinishedAt = false, code, time.Now()
	for _, w := range f.watchers {
		w <- containerEvent{Container: c.ID, Allocation: c.Allocation}
	}
}

func (f *fakeRuntime) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := f.lock(); err != nil {
		return err
	}
	c, ok := f.containers[id]
	if !ok || !c.Running {
		f.mu.Unlock()
		if !ok {
			return errNoContainer
		}
		return nil
	}
	code := 143
	if programs[strings.Join(c.spec.Assignment.Process.Command, " ")].ignoresTERM {
		f.mu.Unlock()
		if !pause(ctx, grace) {
			return ctx.Err()
		}
		f.mu.Lock()
		code = 137
	}
	f.finish(c, code)
	f.mu.Unlock()
	return nil
}

func (f *fakeRuntime) Remove(_ context.Context, id string) error {
	if err := f.lock(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if c, ok := f.containers[id]; ok {
		f.finish(c, 137)
		delete(f.containers, id)
	}
	return nil
}

func (f *fakeRuntime) DestroyVolume(_ context.Context, id cluster.VolumeID) error {
	if err := f.lock(); err != nil {
		return err
	}
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if slices.Contains(c.Volumes, id) {
			return errors.New("volume is in use")
		}
	}
	delete(f.volumes, id)
	return nil
}

func (f *fakeRuntime) Info(context.Context) (engineInfo, error) {
	if err := f.lock(); err != nil {
		return engineInfo{}, err
	}
	defer f.mu.Unlock()
	return engineInfo{Version: "fake", Arch: "amd64", MemoryBytes: 8 << 30, CPUs: 2}, nil
}

func (f *fakeRuntime) Watch(ctx context.Context, connected func(), news func(containerEvent)) error {
	if err := f.lock(); err != nil {
		return err
	}
	w := make(chan containerEvent, 1000)
	f.watchers = append(f.watchers, w)
	f.mu.Unlock()
	connected()
	for {
		select {
		case e, ok := <-w:
			if !ok {
				return errEngineDown
			}
			news(e)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeRuntime) Logs(_ context.Context, id string, q logQuery, line func(logEntry) error) error {
	if err := f.lock(); err != nil {
		return err
	}
	c, ok := f.containers[id]
	if !ok {
		f.mu.Unlock()
		return errNoContainer
	}
	logs := slices.Clone(c.logs)
	f.mu.Unlock()
	if q.Tail >= 0 {
		logs = logs[max(0, len(logs)-q.Tail):]
	}
	var err error
	for _, e := range logs {
		if err == nil && e.At.After(q.Since) {
			err = line(e)
		}
	}
	return err
}

// kill ends a container behind the agent's back.
func (f *fakeRuntime) kill(id string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finish(f.containers[id], code)
}

// signal ends a container as the engine does for somebody, and when it stops itself.
func (f *fakeRuntime) signal(id string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.containers[id]
	for _, w := range f.watchers {
		w <- containerEvent{Container: c.ID, Allocation: c.Allocation, Killed: true}
	}
	f.finish(c, code)
}

func (f *fakeRuntime) all() []container {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []container
	for _, c := range f.containers {
		out = append(out, c.container)
	}
	return out
}

var _ interface {
	images
	containers
	volumes
	engine
	logSource
} = (*fakeRuntime)(nil)

// assignment makes one that runs command.
func assignment(id cluster.AllocationID, command ...string) api.Assignment {
	return api.Assignment{ID: id, App: "blog", Type: "web", Slot: 1, Release: 1, Desired: cluster.DesiredRun,
		Image:   cluster.Image{Digest: "sha256:present"},
		Process: cluster.Process{Command: command, Port: 8080, Check: cluster.Check{Kind: cluster.CheckTCP}, MemoryBytes: 64 << 20, CPUMilli: 100},
		Env:     map[string]cluster.Redacted{"PORT": "8080"}}
}
