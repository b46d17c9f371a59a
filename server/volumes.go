package server

import (
	"context"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// volumeService implements api.VolumeService.
type volumeService struct{ *control }

// removalWait is how long a caller waits for a node to be rid of the data. What takes
// longer goes on.
const removalWait = 10 * time.Second

// Volumes implements api.VolumeService.
func (s *volumeService) Volumes(ctx context.Context, name cluster.AppName) ([]api.VolumeInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	all, actor, out := st.Volumes(), api.ActorFrom(ctx), []api.VolumeInfo{}
	if name != "" {
		all = st.VolumesOf(name)
	}
	for v := range all {
		if !v.Destroyed && actor.May(cluster.ScopeRead, v.App) {
			out = append(out, *volumeInfo(st, v))
		}
	}
	if name != "" && len(out) == 0 {
		if _, err := st.App(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// volumeInfo is a volume with what people ask about it.
func volumeInfo(st *cluster.State, v *cluster.Volume) *api.VolumeInfo {
	in := &api.VolumeInfo{Volume: *v}
	if v.Node != "" {
		in.NodeName = nodeName(st, v.Node)
		n, err := st.Node(v.Node)
		in.NodeGone, in.NodeDown = err != nil, err == nil && n.State == cluster.NodeDown
	}
	if a := st.HolderOf(v); a != nil {
		in.UsedBy = a.Instance()
	}
	app, err := st.App(v.App)
	in.AppGone = err != nil || app.Destroying
	return in
}

// Volume implements api.VolumeService.
func (s *volumeService) Volume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) (*api.VolumeInfo, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	v, err := st.Volume(app, name)
	if err != nil {
		return nil, noVolume(st, app, err)
	}
	return volumeInfo(st, v), nil
}

// noVolume is about the app if there is none of that name either.
func noVolume(st *cluster.State, app cluster.AppName, err error) error {
	if _, gone := st.App(app); gone != nil {
		return gone
	}
	return err
}

// CreateVolume implements api.VolumeService.
func (s *volumeService) CreateVolume(ctx context.Context, app cluster.AppName, in api.CreateVolume) (*api.VolumeInfo, error) {
	st, _, err := s.app(ctx, app)
	if err != nil {
		return nil, err
	}
	if err := in.Name.Validate(); err != nil {
		return nil, err
	}
	var node cluster.NodeID
	if in.Node != "" {
		if node, err = nodeNamed(st, in.Node); err != nil {
			return nil, err
		}
	}
	return s.change(ctx, app, in.Name, store.CreateVolume{By: s.by(ctx), App: app, Name: in.Name, Node: node})
}

// nodeNamed finds a node by its ID, or by its name if that is of one node only.
func nodeNamed(st *cluster.State, name string) (cluster.NodeID, error) {
	var found []cluster.NodeID
	var names []string
	for n := range st.Nodes() {
		names = append(names, n.Name)
		if string(n.ID) == name {
			return n.ID, nil
		}
		if n.Name == name {
			found = append(found, n.ID)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	e := cluster.NotFound("node", "no node %.60q", name)
	if len(found) > 1 {
		e = cluster.Conflict("node", "%d nodes are named %.60q", len(found), name).Because("their IDs are %v", found)
	} else if near := cluster.Nearest(name, names); len(near) > 0 {
		e = e.Because("nearest: %s", strings.Join(near, ", "))
	}
	return "", e.WithHint("list them with: paas nodes")
}

// change proposes c and returns the volume after it.
func (s *volumeService) change(ctx context.Context, app cluster.AppName, name cluster.VolumeName, c store.Command) (*api.VolumeInfo, error) {
	if _, err := s.store.Propose(ctx, c); err != nil {
		return nil, err
	}
	st := s.store.State()
	v, err := st.Volume(app, name)
	if err != nil {
		return nil, err
	}
	return volumeInfo(st, v), nil
}

// AttachVolume implements api.VolumeService.
func (s *volumeService) AttachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName, in api.AttachVolume) (*api.VolumeInfo, error) {
	if _, _, err := s.app(ctx, app); err != nil {
		return nil, err
	}
	if in.Process == "" {
		in.Process = cluster.ProcessWeb
	}
	return s.change(ctx, app, name, store.AttachVolume{By: s.by(ctx), App: app, Name: name, Process: in.Process, Path: in.Path})
}

// DetachVolume implements api.VolumeService.
func (s *volumeService) DetachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) error {
	if _, _, err := s.app(ctx, app); err != nil {
		return err
	}
	_, err := s.store.Propose(ctx, store.DetachVolume{By: s.by(ctx), App: app, Name: name})
	return err
}

// DestroyVolume implements api.VolumeService.
func (s *volumeService) DestroyVolume(ctx context.Context, app cluster.AppName, name, confirm cluster.VolumeName) error {
	st, err := s.read(ctx)
	if err != nil {
		return err
	}
	v, err := st.Volume(app, name)
	if err != nil {
		return noVolume(st, app, err)
	}
	if confirm != name {
		return cluster.Invalid("confirm", "volume %s is not destroyed", name).Because("the confirmation is not its name").
			WithHint("repeat the name: paas volumes destroy " + string(name) + " -a " + string(app) + " --confirm " + string(name))
	}
	if _, err := s.store.Propose(ctx, store.DestroyVolume{By: s.by(ctx), App: app, Name: name}); err != nil {
		return err
	}
	s.log.Info("volume destroyed", "app", string(app), "volume", string(v.ID))
	if n, err := st.Node(v.Node); err != nil || n.State == cluster.NodeDown {
		return nil // nobody is there to wait for
	}
	waiting, cancel := context.WithTimeout(ctx, removalWait)
	defer cancel()
	_ = s.until(waiting, func(st *cluster.State) (bool, error) { // what takes longer goes on
		for left := range st.VolumesOf(app) {
			if left.ID == v.ID {
				return false, nil
			}
		}
		return true, nil
	})
	return ctx.Err()
}
