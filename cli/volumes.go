package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func volumesVerb() *verb {
	return &verb{name: "volumes", aliases: []string{"volume"}, group: groupChange, summary: "data that outlives an app's replicas", needs: needsApp, run: listVolumes,
		about: "A volume is a directory on one node. It is attached to one process type, which then has one\n" +
			"replica at most, on that node. More: paas help volumes",
		examples: []string{"paas volumes create data && paas volumes attach data /data", "paas volumes"},
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list an app's volumes, also of an app that is gone", needs: needsServer, run: listVolumes,
				flags:    append(appFlags(), &cli.BoolFlag{Name: "all", Usage: "of all apps"}),
				examples: []string{"paas volumes list", "paas volumes list --all"}},
			{name: "info", aliases: []string{"show"}, summary: "show a volume", args: "NAME", takes: one, needs: needsApp, run: showVolume,
				examples: []string{"paas volumes info data"}},
			{name: "create", aliases: []string{"new"}, summary: "create a volume", args: "NAME", takes: one, needs: needsApp, changes: true, run: createVolume,
				flags:    []cli.Flag{&cli.StringFlag{Name: "node", Usage: "`NODE` for its data; without it the first replica's"}},
				examples: []string{"paas volumes create data", "paas volumes create data --node host-2"}},
			attachVerb(), detachVerb(),
			{name: "destroy", aliases: []string{"delete"}, summary: "destroy a volume and its data for good", args: "NAME", takes: one, needs: needsApp, changes: true, run: destroyVolume,
				about: "Nothing else ever removes the data: no release, no end of the app, no paas down --purge, no\n" +
					"removal of the node. The name has to be typed again, or given with --confirm.",
				flags:    []cli.Flag{&cli.StringFlag{Name: "confirm", Usage: "the volume's `NAME` again"}},
				examples: []string{"paas volumes destroy data --confirm data"}},
		}}
}

func attachVerb() *verb {
	return &verb{name: "attach", summary: "give a volume to a process type", args: "NAME PATH", takes: arity{2, 2}, needs: needsApp, changes: true, run: attachVolume,
		about: "Its replica is replaced by one that finds the volume at PATH. From then on the type has one\n" +
			"replica at most, and each release stops it before it starts the next one.",
		flags:    waitFlags(&cli.StringFlag{Name: "process", Usage: "process `TYPE` that gets it", Value: "web"}),
		examples: []string{"paas volumes attach data /data", "paas volumes attach data /var/lib/queue --process worker"}}
}

func detachVerb() *verb {
	return &verb{name: "detach", summary: "take a volume from its process type; the data stays", args: "NAME", takes: one, needs: needsApp, changes: true, run: detachVolume,
		flags: waitFlags(), examples: []string{"paas volumes detach data"}}
}

func listVolumes(ctx context.Context, in *invocation) error {
	all := in.verb.name == "list" && in.Bool("all")
	if in.app == "" && !all {
		if err := in.findApp(ctx); err != nil {
			return err
		}
	}
	if all {
		in.app = ""
	}
	list, err := in.client.Volumes(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		if len(list) == 0 {
			o.notef("No volumes.\n")
			o.next("paas volumes create data")
			return
		}
		var rows [][]string
		for _, v := range list {
			rows = append(rows, []string{string(v.App), string(v.Name), attachedTo(&v), v.Path, volumeNode(&v), o.state(volumeState(&v))})
		}
		o.table([]string{"APP", "VOLUME", "PROCESS", "PATH", "NODE", "STATE"}, rows)
	})
}

func attachedTo(v *api.VolumeInfo) string {
	if v.Attached() {
		return string(v.Process)
	}
	return "-"
}

// volumeNode is where the data is.
func volumeNode(v *api.VolumeInfo) string {
	switch {
	case v.Node == "":
		return "-"
	case v.NodeGone:
		return v.NodeName + " (removed)"
	case v.NodeDown:
		return v.NodeName + " (down)"
	}
	return v.NodeName
}

// volumeState is a volume's use in one phrase.
func volumeState(v *api.VolumeInfo) (glyph, string) {
	switch {
	case v.NodeGone:
		return bad, "out of reach"
	case v.NodeDown:
		return bad, "waits for its node"
	case v.UsedBy != "" && v.Attached():
		return good, "used by " + v.UsedBy
	case v.UsedBy != "":
		return busy, "left by " + v.UsedBy
	case v.AppGone:
		return idle, "its app is gone"
	case v.Attached():
		return idle, "attached, not used"
	}
	return idle, "not attached"
}

func showVolume(ctx context.Context, in *invocation) error {
	v, err := in.client.Volume(ctx, in.app, cluster.VolumeName(in.arg(0)))
	if err != nil {
		return err
	}
	return in.print(v, func(o *output) {
		at := "nothing"
		if v.Attached() {
			at = fmt.Sprintf("%s at %s", v.Process, v.Path)
		}
		g, word := volumeState(v)
		o.fields([][2]string{{"Volume", string(v.Name)}, {"App", string(v.App)}, {"State", o.state(g, word)}, {"Attached", at}, {"Node", volumeNode(v)},
			{"ID", string(v.ID)}, {"Created", v.CreatedAt.Local().Format(time.DateTime) + " by " + v.CreatedBy}})
	})
}

func createVolume(ctx context.Context, in *invocation) error {
	v, err := in.client.CreateVolume(ctx, in.app, api.CreateVolume{Name: cluster.VolumeName(in.arg(0)), Node: in.String("node")})
	if err != nil {
		return err
	}
	return in.print(v, func(o *output) {
		o.done("volume %s is created", v.Name)
		o.next("paas volumes attach " + string(v.Name) + " /data")
	})
}

func attachVolume(ctx context.Context, in *invocation) error {
	v, err := in.client.AttachVolume(ctx, in.app, cluster.VolumeName(in.arg(0)),
		api.AttachVolume{Process: cluster.ProcessType(in.String("process")), Path: in.arg(1)})
	if err != nil {
		return err
	}
	return in.remounted(ctx, v.Process, v.Name, func(o *output) {
		o.done("volume %s is at %s in %s", v.Name, v.Path, v.Process)
		o.notef("  %s has one replica at most now; each release stops it before it starts the next one\n", v.Process)
	})
}

func detachVolume(ctx context.Context, in *invocation) error {
	before, err := in.client.Volume(ctx, in.app, cluster.VolumeName(in.arg(0)))
	if err != nil {
		return err
	}
	if err := in.client.DetachVolume(ctx, in.app, before.Name); err != nil {
		return err
	}
	return in.remounted(ctx, before.Process, before.Name, func(o *output) {
		o.done("volume %s is attached to nothing; its data stays", before.Name)
	})
}

// remounted waits until the process type runs with what it has now.
func (in *invocation) remounted(ctx context.Context, t cluster.ProcessType, name cluster.VolumeName, say func(*output)) error {
	if !in.Bool("detach") && t != "" {
		if err := in.settle(ctx, []cluster.ProcessType{t}); err != nil {
			return err
		}
	}
	if in.jsonStream() {
		return nil
	}
	v, err := in.client.Volume(ctx, in.app, name) // as it is now
	if err != nil {
		return err
	}
	return in.print(v, say)
}

func destroyVolume(ctx context.Context, in *invocation) error {
	name := cluster.VolumeName(in.arg(0))
	v, err := in.client.Volume(ctx, in.app, name)
	if err != nil {
		return err // before anybody types a name
	}
	if err := in.confirmName(ctx, string(name), "this destroys volume "+string(name)+" of app "+string(in.app)+" and its data for good"); err != nil {
		return err
	}
	if err := in.client.DestroyVolume(ctx, in.app, name, name); err != nil {
		return err
	}
	return in.print(struct {
		App       cluster.AppName    `json:"app"`
		Volume    cluster.VolumeName `json:"volume"`
		Destroyed bool               `json:"destroyed"`
	}{in.app, name, true}, func(o *output) {
		o.done("volume %s is destroyed", name)
		switch {
		case v.NodeGone:
			o.notef("  node %s is no member any more: what it has of the data stays there\n", v.NodeName)
		case v.NodeDown:
			o.notef("  node %s is down: its data goes when it returns\n", v.NodeName)
		}
	})
}
