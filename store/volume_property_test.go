package store

import (
	"pgregory.net/rapid"

	"paas/cluster"
)

func (g *commands) volume() cluster.VolumeName {
	return pick[cluster.VolumeName](g.t, "volume", "data", "logs", "-bad")
}

func (g *commands) drawVolume() Command {
	app, name := g.app(), g.volume()
	switch rapid.IntRange(0, 7).Draw(g.t, "volume command") {
	case 0:
		return CreateVolume{By: g.by(), App: app, Name: name, Node: pick(g.t, "pin", "", nodeA, nodeB)}
	case 1, 2, 3:
		return AttachVolume{By: g.by(), App: app, Name: name, Process: g.typ(), Path: pick(g.t, "path", "/data", "/data/more", "/logs", "/etc", "x")}
	case 4:
		return DetachVolume{By: g.by(), App: app, Name: name}
	case 5:
		return DestroyVolume{By: g.by(), App: app, Name: name}
	case 6:
		return ForgetVolumes{By: g.by(), Node: g.node(), Volumes: []cluster.VolumeID{cluster.VolumeID(g.id("vol")), cluster.VolumeID(g.id("vol"))}}
	}
	return CreateVolume{By: g.by(), App: app, Name: name}
}

// checkVolumes: a volume has one user at a time, where its data is; it stays where
// it is; and only the commands that name exactly it end it.
func checkVolumes(rt *rapid.T, before, after *cluster.State, c Command) {
	users := map[cluster.VolumeID]cluster.AllocationID{}
	for a := range after.Allocations() {
		if !a.Live() {
			continue
		}
		for _, m := range a.Mounts {
			if other, used := users[m.Volume]; used {
				rt.Fatalf("%T: %s and %s hold volume %s", c, other, a.ID, m.Volume)
			}
			users[m.Volume] = a.ID
		}
	}
	now := map[cluster.VolumeID]*cluster.Volume{}
	for v := range after.Volumes() {
		now[v.ID] = v
		if a := after.HolderOf(v); a != nil && a.Node != v.Node {
			rt.Fatalf("%T: volume %s is on %s, its user on %s", c, v.ID, v.Node, a.Node)
		}
		if v.Attached() && v.Destroyed {
			rt.Fatalf("%T: volume %s is attached and destroyed", c, v.ID)
		}
	}
	for old := range before.Volumes() {
		v := now[old.ID]
		_, destroys := c.(DestroyVolume)
		_, forgets := c.(ForgetVolumes)
		switch {
		case v == nil && !(destroys && old.Node == "") && !(forgets && old.Destroyed):
			rt.Fatalf("%T ended volume %s", c, old.ID)
		case v == nil:
		case old.Node != "" && v.Node != old.Node:
			rt.Fatalf("%T moved volume %s", c, old.ID)
		case v.Destroyed && !old.Destroyed && !destroys:
			rt.Fatalf("%T destroyed volume %s", c, old.ID)
		}
	}
}
