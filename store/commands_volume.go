package store

import (
	"fmt"
	"slices"

	"paas/cluster"
)

// CreateVolume makes a volume that is attached to nothing. Node is where its data
// will lie; "" leaves that to the first placement.
type CreateVolume struct {
	By
	App  cluster.AppName
	Name cluster.VolumeName
	Node cluster.NodeID
}

// AttachVolume gives a volume to a process type, whose replica is replaced by one
// that has it. It is refused while the volume is attached elsewhere, and to a type
// that is wanted more than once.
type AttachVolume struct {
	By
	App     cluster.AppName
	Name    cluster.VolumeName
	Process cluster.ProcessType
	Path    string
}

// DetachVolume takes a volume from its process type, whose replica is replaced by
// one without it. The data stays.
type DetachVolume struct {
	By
	App  cluster.AppName
	Name cluster.VolumeName
}

// DestroyVolume ends a volume and its data for good. It is refused while the volume
// is attached or a replica may still write to it. The record stays, nameless, until
// the node says that the data is gone.
type DestroyVolume struct {
	By
	App  cluster.AppName
	Name cluster.VolumeName
}

// ForgetVolumes records that the data of destroyed volumes is gone from a node.
// Others are skipped.
type ForgetVolumes struct {
	By
	Node    cluster.NodeID
	Volumes []cluster.VolumeID
}

func (c CreateVolume) apply(d *cluster.Draft) (Outcome, error) {
	if _, err := liveApp(d, c.App); err != nil {
		return Outcome{}, err
	}
	if err := c.Name.Validate(); err != nil {
		return Outcome{}, err
	}
	s := d.State()
	if _, err := s.Volume(c.App, c.Name); err == nil {
		return Outcome{}, cluster.Conflict("volume_exists", "app %s has a volume %s already", c.App, c.Name).
			WithHint("choose another name, or attach it: paas volumes attach " + string(c.Name) + " /data -a " + string(c.App))
	}
	if n := len(slices.Collect(s.VolumesOf(c.App))); n >= cluster.MaxVolumes {
		return Outcome{}, cluster.Conflict("volume_limit", "app %s has %d volumes", c.App, n).Because("the limit is %d", cluster.MaxVolumes).
			WithHint("list them with: paas volumes -a " + string(c.App))
	}
	if c.Node != "" {
		n, err := s.Node(c.Node)
		if err != nil {
			return Outcome{}, err
		}
		if !n.Apps {
			return Outcome{}, cluster.Conflict("volume_node", "volume %s cannot be on node %s", c.Name, n.Name).Because("the node runs no apps").
				WithHint("see which do with: paas nodes")
		}
	}
	d.PutVolume(cluster.Volume{ID: cluster.VolumeID(fmt.Sprintf("vol-%d", d.NextSequence())), App: c.App, Name: c.Name, Node: c.Node,
		CreatedAt: c.At, CreatedBy: c.Actor})
	c.event(d, cluster.Event{Action: "volume.created", App: c.App, Target: string(c.Name), Text: fmt.Sprintf("volume %s created", c.Name)})
	return Outcome{}, nil
}

func (c AttachVolume) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	found, err := d.State().Volume(c.App, c.Name)
	if err != nil {
		return Outcome{}, err
	}
	if found.Process == c.Process && found.Path == c.Path && found.Attached() {
		return Outcome{}, errUnchanged
	}
	if err := c.check(d.State(), &app, found); err != nil {
		return Outcome{}, err
	}
	v := *found
	v.Process, v.Path = c.Process, c.Path
	d.PutVolume(v)
	renew(d, app, c.Process)
	c.event(d, cluster.Event{Action: "volume.attached", App: c.App, Target: string(c.Name), Text: fmt.Sprintf("volume %s attached to %s at %s", c.Name, c.Process, c.Path)})
	return Outcome{}, nil
}

// check refuses what could not run.
func (c AttachVolume) check(s *cluster.State, app *cluster.App, v *cluster.Volume) error {
	refused := cluster.Conflict("volume_attach", "volume %s cannot be attached to %s", v.Name, c.Process)
	if err := c.Process.Validate(); err != nil {
		return err
	}
	if c.Process == cluster.ProcessRelease {
		return cluster.Invalid("process_type", "process release takes no volume").Because("it runs beside what serves, and a volume has one user at a time")
	}
	if err := cluster.ValidateMountPath(c.Path); err != nil {
		return err
	}
	if v.Attached() {
		return refused.Because("it is attached to %s at %s", v.Process, v.Path).
			WithHint(fmt.Sprintf("detach it first: paas volumes detach %s -a %s", v.Name, c.App))
	}
	if r, err := s.Release(c.App, app.Current); err == nil {
		if err := checkType(c.App, r, c.Process); err != nil {
			return err
		}
	}
	if n := app.Quantity(c.Process); n > 1 {
		return refused.Because("%s has %d replicas, and a volume has one user at a time", c.Process, n).
			WithHint(fmt.Sprintf("scale it to one first: paas scale %s=1 -a %s", c.Process, c.App))
	}
	if v.Node != "" {
		if _, err := s.Node(v.Node); err != nil {
			return refused.Because("its data is on node %s, which was removed from the cluster", v.Node).
				WithHint(fmt.Sprintf("forget it and make a new one: paas volumes destroy %s -a %s", v.Name, c.App))
		}
	}
	others := s.AttachedTo(c.App, c.Process)
	if o := cluster.Overlapping(others, c.Path); o != nil {
		return refused.Because("volume %s is at %s, and one would hide the other", o.Name, o.Path).WithHint("choose a path beside it")
	}
	for _, o := range others {
		if o.Node != "" && v.Node != "" && o.Node != v.Node {
			return refused.Because("its data and that of volume %s are on two nodes, and a replica runs on one", o.Name).
				WithHint(fmt.Sprintf("see where they are with: paas volumes -a %s", c.App))
		}
	}
	return nil
}

// renew asks for replacements of a process type's replicas, as a restart does.
func renew(d *cluster.Draft, app cluster.App, t cluster.ProcessType) {
	app.Generation = cluster.CloneConfig(app.Generation)
	app.Generation[t]++
	d.PutApp(app)
}

func (c DetachVolume) apply(d *cluster.Draft) (Outcome, error) {
	app, err := liveApp(d, c.App)
	if err != nil {
		return Outcome{}, err
	}
	found, err := d.State().Volume(c.App, c.Name)
	if err != nil {
		return Outcome{}, err
	}
	if !found.Attached() {
		return Outcome{}, errUnchanged
	}
	v := *found
	v.Process, v.Path = "", ""
	d.PutVolume(v)
	renew(d, app, found.Process)
	c.event(d, cluster.Event{Action: "volume.detached", App: c.App, Target: string(c.Name), Text: fmt.Sprintf("volume %s detached from %s; its data stays", c.Name, found.Process)})
	return Outcome{}, nil
}

func (c DestroyVolume) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	found, err := s.Volume(c.App, c.Name)
	if err != nil {
		return Outcome{}, err
	}
	if err := destroyable(s, found); err != nil {
		return Outcome{}, err
	}
	text := fmt.Sprintf("volume %s destroyed", found.Name)
	switch _, err := s.Node(found.Node); {
	case found.Node == "": // it never had data
		d.RemoveVolume(found)
	case err != nil:
		d.RemoveVolume(found)
		text += fmt.Sprintf("; what node %s has of it stays there: the node is no member any more", found.Node)
	default:
		v := *found
		v.Destroyed = true
		d.PutVolume(v)
	}
	c.event(d, cluster.Event{Action: "volume.destroyed", App: c.App, Target: string(c.Name), Text: text})
	return Outcome{}, nil
}

// destroyable refuses while something uses v or may use it again.
func destroyable(s *cluster.State, v *cluster.Volume) error {
	refused := cluster.Conflict("volume_used", "volume %s is not destroyed", v.Name)
	if v.Attached() {
		return refused.Because("it is attached to %s at %s", v.Process, v.Path).
			WithHint(fmt.Sprintf("detach it first: paas volumes detach %s -a %s", v.Name, v.App))
	}
	a := s.HolderOf(v)
	if a == nil {
		return nil
	}
	n, err := s.Node(a.Node)
	switch {
	case err != nil:
		return nil
	case n.State != cluster.NodeDown:
		return refused.Because("%s still uses it", a.Instance()).WithHint("try again when it has ended; see: paas ps -a " + string(v.App))
	case a.Desired != cluster.DesiredStop:
		return refused.Because("%s on node %s, which is down, may still use it", a.Instance(), n.Name).
			WithHint(fmt.Sprintf("end it first: paas scale %s=0 -a %s", a.Type, v.App))
	}
	return nil // the node stops it before it removes the data
}

func (c ForgetVolumes) apply(d *cluster.Draft) (Outcome, error) {
	changed := false
	for _, v := range d.State().DestroyedOn(c.Node) {
		if !slices.Contains(c.Volumes, v.ID) {
			continue
		}
		d.RemoveVolume(v)
		c.event(d, cluster.Event{Action: "volume.removed", App: v.App, Target: string(v.Name), Text: fmt.Sprintf("the data of volume %s is gone", v.Name)})
		changed = true
	}
	if !changed {
		return Outcome{}, errUnchanged
	}
	return Outcome{}, nil
}

// mountable reports whether a replica of p's type may be placed on p's node: the
// data of its volumes is there or nowhere yet, and nobody else may be writing to it.
func mountable(s *cluster.State, p cluster.Placement) bool {
	for _, v := range s.AttachedTo(p.App, p.Type) {
		if v.Node != "" && v.Node != p.Node || s.HolderOf(v) != nil {
			return false
		}
	}
	return true
}

// mount pins the volumes of p's type to its node and returns them as its
// allocation has them.
func mount(d *cluster.Draft, p cluster.Placement) []cluster.Mount {
	var out []cluster.Mount
	for _, found := range d.State().AttachedTo(p.App, p.Type) {
		out = append(out, cluster.Mount{Volume: found.ID, Name: found.Name, Path: found.Path, Fresh: !found.Written})
		if found.Node == "" {
			v := *found
			v.Node = p.Node
			d.PutVolume(v)
		}
	}
	return out
}

// written records that the volumes of a, whose container was made, have data.
func written(d *cluster.Draft, a *cluster.Allocation) {
	if len(a.Mounts) == 0 || a.Observed.ContainerID == "" {
		return
	}
	for found := range d.State().VolumesOf(a.App) {
		if !found.Written && a.Holds(found.ID) {
			v := *found
			v.Written = true
			d.PutVolume(v)
		}
	}
}

// detachAll leaves an app's volumes to nobody.
func detachAll(d *cluster.Draft, app cluster.AppName) {
	for found := range d.State().VolumesOf(app) {
		if found.Attached() {
			v := *found
			v.Process, v.Path = "", ""
			d.PutVolume(v)
		}
	}
}

// singleUser refuses a quantity that a process type with a volume cannot have.
func singleUser(s *cluster.State, app cluster.AppName, t cluster.ProcessType, n int) error {
	volumes := s.AttachedTo(app, t)
	if n <= 1 || len(volumes) == 0 {
		return nil
	}
	v := volumes[0]
	return cluster.Conflict("volume_single", "%s cannot have %d replicas", t, n).
		Because("volume %s is attached to it, and has one user at a time", v.Name).
		WithHint(fmt.Sprintf("one is the most; without the volume there can be more: paas volumes detach %s -a %s", v.Name, app))
}
