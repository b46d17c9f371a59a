package cluster

import (
	"path"
	"slices"
	"strings"
	"time"
)

// Volume is a directory of an app that outlives its replicas: on one node, for one
// process type at a time, of which at most one replica runs. It outlives its app,
// too: it goes only when somebody destroys exactly this volume.
//
// Its data never moves. Node is set once, by whoever created it or by the first
// placement, and no command changes it: a replica with a volume can be started
// nowhere else. That is its fence. A node that is cut off goes on serving from its
// volume as it does without any (serving does not depend on the control plane), for
// no replacement is placed while one allocation that holds the volume may be alive
// on a member of the cluster.
type Volume struct {
	// ID is never used again: the next volume of the same name is another one.
	ID   VolumeID   `json:"id"`
	App  AppName    `json:"app"`
	Name VolumeName `json:"name"`
	// Node has the data, or will; "" until the first replica is placed.
	Node NodeID `json:"node,omitempty"`
	// Process is the type it is attached to, "" if to none; Path is where its replica
	// finds it.
	Process   ProcessType `json:"process,omitempty"`
	Path      string      `json:"path,omitempty"`
	CreatedAt time.Time   `json:"created_at"`
	CreatedBy string      `json:"created_by"`
	// Written says that a replica had it mounted once. From then on a node without
	// its data must not begin with an empty directory in its place.
	Written bool `json:"written,omitempty"`
	// Destroyed is set when somebody destroyed it: no name leads to it any more, and
	// its record goes when its node says that the data is gone.
	Destroyed bool `json:"destroyed,omitempty"`
}

// DetachAdvice is the command that lets an app's replica run without a volume.
func DetachAdvice(app AppName, name VolumeName) string {
	return "paas volumes detach " + string(name) + " -a " + string(app)
}

// Attached reports whether v is attached to a process type.
func (v *Volume) Attached() bool { return v.Process != "" }

// Mount is a volume in an allocation, as it was when that was placed.
type Mount struct {
	Volume VolumeID   `json:"volume"`
	Name   VolumeName `json:"name"`
	Path   string     `json:"path"`
	// Fresh says that no replica had the volume before: the node may make it.
	Fresh bool `json:"fresh,omitempty"`
}

// Holds reports whether a has the volume mounted, or will.
func (a *Allocation) Holds(id VolumeID) bool {
	return slices.ContainsFunc(a.Mounts, func(m Mount) bool { return m.Volume == id })
}

const (
	// MaxVolumes bounds the volumes of one app, destroyed ones that wait included.
	MaxVolumes = 50
	// maxMountPath bounds a path inside a container.
	maxMountPath = 255
)

// closedPaths are what no volume may cover, nor lie in: what the kernel and the
// engine put into a container, and what programs are started from.
var closedPaths = []string{"/proc", "/sys", "/dev", "/etc", "/run", "/var/run", "/boot", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/local/bin", "/usr/local/lib", "/usr/local/sbin"}

// coveredPaths hold so much of an image that it would not start any more.
var coveredPaths = []string{"/", "/usr", "/usr/local", "/usr/share", "/var", "/var/lib"}

// Validate reports why n cannot be a volume's name.
func (n VolumeName) Validate() error {
	if !appNameRE.MatchString(string(n)) {
		return Invalid("volume_name", "volume name %s is not valid", quote(string(n))).
			Because("a name is 1 to 40 lower-case letters, digits and dashes, starts with a letter and ends with a letter or digit").
			WithHint("try: paas volumes create data")
	}
	return nil
}

// Validate reports why id is no volume's identity.
func (id VolumeID) Validate() error {
	if !volumeIDRE.MatchString(string(id)) {
		return Invalid("volume_id", "volume ID %s is not valid", quote(string(id)))
	}
	return nil
}

// ValidateMountPath reports why p cannot be where a replica finds a volume.
func ValidateMountPath(p string) error {
	bad := func(format string, args ...any) error {
		return Invalid("path", "path %s is not valid", quote(p)).Because(format, args...).WithHint("a path looks like /data or /var/lib/postgresql/data")
	}
	switch {
	case len(p) > maxMountPath:
		return bad("it has more than %d bytes", maxMountPath)
	case p != "/" && !mountPathRE.MatchString(p), path.Clean(p) != p:
		return bad("it starts with / and its parts are letters, digits, '.', '_' and '-'")
	case slices.Contains(coveredPaths, p):
		return bad("a volume there would hide the image's own files")
	}
	for _, closed := range closedPaths {
		if p == closed || strings.HasPrefix(p, closed+"/") {
			return bad("%s belongs to the system in the container", closed)
		}
	}
	return nil
}

// overlaps reports whether one of two clean paths lies in the other, or is it.
func overlaps(a, b string) bool {
	return a == b || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

// Overlapping returns the first of volumes whose path p would cover or lie in.
func Overlapping(volumes []*Volume, p string) *Volume {
	for _, v := range volumes {
		if overlaps(v.Path, p) {
			return v
		}
	}
	return nil
}

// Volume returns an app's volume, or an Error of KindNotFound that names the
// nearest ones. The app itself may be gone.
func (s *State) Volume(app AppName, name VolumeName) (*Volume, error) {
	var names []string
	for v := range s.VolumesOf(app) {
		if v.Destroyed {
			continue
		}
		if v.Name == name {
			return v, nil
		}
		names = append(names, string(v.Name))
	}
	e := NotFound("volume", "app %s has no volume %s", app, quote(string(name)))
	if near := Nearest(string(name), names); len(near) > 0 {
		e = e.Because("nearest: %s", strings.Join(near, ", "))
	}
	return nil, e.WithHint("list them with: paas volumes -a " + string(app))
}

// AttachedTo returns the volumes of a process type, in the order of their making.
func (s *State) AttachedTo(app AppName, t ProcessType) []*Volume {
	var out []*Volume
	for v := range s.VolumesOf(app) {
		if v.Process == t && !v.Destroyed {
			out = append(out, v)
		}
	}
	return out
}

// HolderOf returns the allocation that holds a volume and may be alive on a member
// of the cluster, whatever is known of the node now; nil if none does. There is
// never more than one.
func (s *State) HolderOf(v *Volume) *Allocation {
	for a := range s.AllocationsOf(v.App) {
		if !a.Live() || !a.Holds(v.ID) {
			continue
		}
		if _, member := s.nodes.get(a.Node); member {
			return a
		}
	}
	return nil
}

// DestroyedOn returns the volumes whose data a node has to remove.
func (s *State) DestroyedOn(node NodeID) []*Volume {
	var out []*Volume
	for v := range s.volumes.all() {
		if v.Destroyed && v.Node == node {
			out = append(out, v)
		}
	}
	return out
}
