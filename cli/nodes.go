package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func nodesVerb() *verb {
	return &verb{name: "nodes", aliases: []string{"node"}, group: groupOperate, summary: "hosts: zone, state, what is reserved; drain, label, remove", needs: needsServer,
		about: "NODE is a node's name, its ID, or the first digits of its ID.", examples: []string{"paas nodes", "paas nodes drain web-3 --watch", "paas nodes --json"}, run: listNodes,
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list the hosts", needs: needsServer, examples: []string{"paas nodes list"}, run: listNodes},
			{name: "info", summary: "show a host and what is on it", args: "NODE", takes: one, needs: needsServer, examples: []string{"paas nodes info web-3"}, run: showNode},
			{name: "label", summary: "set labels, or remove them: disk=ssd rack-", args: "NODE [KEY=VALUE | KEY-]...", takes: arity{2, -1}, needs: needsServer, changes: true, run: labelNode,
				about:    "Constraints of process types ask for labels. What is set here goes before what the node's\nown agent reports.",
				examples: []string{"paas nodes label web-3 disk=ssd", "paas nodes label web-3 rack-"}},
			{name: "cordon", summary: "let no new replica come; what is there stays", args: "NODE", takes: one, needs: needsServer, changes: true, run: cordonNode, examples: []string{"paas nodes cordon web-3"}},
			{name: "drain", summary: "move everything elsewhere, starting before stopping", args: "NODE", takes: one, needs: needsServer, changes: true, run: drainNode,
				about: "It returns at once, unless --watch follows until nothing is left, or until what is left can go\n" +
					"nowhere: then it says why, node by node (exit 7), and what is left serves on.",
				flags: []cli.Flag{&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "follow until the node is empty"},
					&cli.DurationFlag{Name: "timeout", Usage: "watch so long at most; the drain goes on (exit 8)"},
					&cli.StringFlag{Name: "progress", Usage: "`FORM`: auto, tty, plain or json (PAAS_PROGRESS)", Value: "auto"}},
				examples: []string{"paas nodes drain web-3 --watch"}},
			{name: "uncordon", aliases: []string{"undrain"}, summary: "let new replicas come again; ends a drain", args: "NODE", takes: one, needs: needsServer, changes: true, run: uncordonNode,
				examples: []string{"paas nodes uncordon web-3"}},
			{name: "remove", aliases: []string{"rm"}, summary: "end a host's membership for good", args: "NODE", takes: one, needs: needsServer, changes: true, run: removeNode,
				about:    "Its certificate is refused from then on: to come back it has to join anew. One that is up and\nruns replicas is refused: drain it first. With --force they are lost, and replaced elsewhere,\nbut not what has a volume there: it stays down until that is detached, and the data stays on\nthe host's disk, out of reach.",
				flags:    []cli.Flag{yesFlag(), &cli.BoolFlag{Name: "force", Usage: "although it runs replicas or has the data of volumes"}},
				examples: []string{"paas nodes remove web-3"}},
		}}
}

func listNodes(ctx context.Context, in *invocation) error {
	list, err := in.client.Nodes(ctx)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, n := range list {
			rows = append(rows, []string{n.Name, n.Zone, nodeRole(&n), o.state(nodeState(&n)), fmt.Sprint(n.Allocations),
				fmt.Sprintf("%s/%s", gib(n.ReservedBytes), gib(n.MemoryBytes)), fmt.Sprintf("%.1f/%.1f", float64(n.ReservedMilli)/1000, float64(n.CPUMilli)/1000),
				n.DockerVersion, n.Version, n.Address, diskUsed(o, n.Space)})
		}
		o.table([]string{"NODE", "ZONE", "ROLE", "STATE", "REPLICAS", "MEMORY GB", "CPU", "DOCKER", "VERSION", "ADDRESS", "DISK"}, rows)
	})
}

func gib(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/(1<<30)) }

// diskUsed is a node's fullest file system, in percent.
func diskUsed(o *output, all []cluster.Space) string {
	if len(all) == 0 {
		return "-"
	}
	worst := all[0]
	for _, s := range all[1:] {
		if s.Level > worst.Level || s.Level == worst.Level && s.Percent() > worst.Percent() {
			worst = s
		}
	}
	used := fmt.Sprintf("%d%%", worst.Percent())
	switch worst.Level {
	case cluster.SpaceFull:
		return o.state(bad, used)
	case cluster.SpaceTight:
		return o.state(warn, used)
	}
	return used
}

func nodeRole(n *api.NodeInfo) string {
	switch {
	case n.Leader:
		return "leader"
	case n.Server:
		return "server"
	}
	return "agent"
}

func nodeState(n *api.NodeInfo) (glyph, string) {
	switch {
	case n.State == cluster.NodeDown:
		return bad, "down"
	case n.State != cluster.NodeUp:
		return idle, n.State.String()
	case n.Draining:
		return busy, "draining"
	case n.Cordoned:
		return warn, "cordoned"
	case !n.Apps:
		return good, "up, no apps"
	}
	return good, "up"
}

func showNode(ctx context.Context, in *invocation) error {
	n, err := in.client.Node(ctx, in.arg(0))
	if err != nil {
		return err
	}
	return in.print(n, func(o *output) {
		o.fields(nodeFields(o, n, time.Now()))
		if len(n.Replicas) > 0 {
			o.table([]string{"APP", "INSTANCE", "RELEASE", "STATE", "UP", "STAYS BECAUSE"}, nodeRows(o, n, time.Now()))
		}
		switch {
		case n.Draining && len(n.Replicas) == 0:
			o.next("paas nodes remove "+n.Name, "paas nodes uncordon "+n.Name)
		case n.Draining:
			o.next("paas nodes drain "+n.Name+" --watch", "paas nodes uncordon "+n.Name)
		case n.Cordoned:
			o.next("paas nodes uncordon " + n.Name)
		}
	})
}

func nodeFields(o *output, n *api.NodeDetail, now time.Time) [][2]string {
	router := "none"
	if n.Router {
		router = "its table was not heard of yet"
		if n.RouterIndex > 0 {
			router = fmt.Sprintf("serves the table of index %d", n.RouterIndex)
		}
	}
	heard := "not since this leader leads"
	if !n.LastHeard.IsZero() {
		heard = age(now.Sub(n.LastHeard)) + " ago"
	}
	var labels []string
	for _, k := range sortedKeys(n.AllLabels) {
		text := k + "=" + n.AllLabels[k]
		if _, own := n.OperatorLabels[k]; !own {
			text += " (its agent's)"
		}
		labels = append(labels, text)
	}
	if labels == nil {
		labels = []string{"none"}
	}
	fields := [][2]string{{"Node", n.Name + "  " + string(n.ID)}, {"Zone", n.Zone}, {"Role", nodeRole(&n.NodeInfo)}, {"State", o.state(nodeState(&n.NodeInfo)) + "  since " + age(now.Sub(n.StateAt))},
		{"Heard", heard}, {"Address", n.Address}, {"Router", router}, {"Labels", strings.Join(labels, ", ")},
		{"Memory", fmt.Sprintf("%s of %s GB reserved", gib(n.ReservedBytes), gib(n.MemoryBytes))},
		{"CPU", fmt.Sprintf("%.1f of %.1f reserved, %s", float64(n.ReservedMilli)/1000, float64(n.CPUMilli)/1000, n.Arch)},
		{"Version", n.Version + ", Docker " + n.DockerVersion}}
	for _, s := range n.Space {
		fields = append(fields, [2]string{"Disk", s.Path + "  " + s.String()})
	}
	return fields
}

func nodeRows(o *output, n *api.NodeDetail, now time.Time) [][]string {
	var rows [][]string
	for _, r := range n.Replicas {
		up := "-"
		if !r.Observed.StartedAt.IsZero() {
			up = age(now.Sub(r.Observed.StartedAt))
		}
		rows = append(rows, []string{string(r.App), r.Instance, r.Release.String(), o.state(replicaState(r.Desired, r.Observed.State)), up, oneLine(strings.Join(r.Stays, "; "))})
	}
	return rows
}

// parseLabels reads "disk=ssd" and "rack-".
func parseLabels(words []string) (set map[string]string, unset []string, err error) {
	set = map[string]string{}
	for _, w := range words {
		key, value, is := strings.Cut(w, "=")
		bare, minus := strings.CutSuffix(w, "-")
		switch {
		case is:
			if err := cluster.ValidateLabels(map[string]string{key: value}); err != nil {
				return nil, nil, err
			}
			set[key] = value
		case minus:
			if err := cluster.ValidateLabelKey(bare); err != nil {
				return nil, nil, err
			}
			unset = append(unset, bare)
		default:
			return nil, nil, cluster.Invalid("label", "%.80q is no label", w).WithHint("set one with KEY=VALUE, remove it with KEY-")
		}
	}
	return set, unset, nil
}

func labelNode(ctx context.Context, in *invocation) error {
	set, unset, err := parseLabels(in.args[1:])
	if err != nil {
		return err
	}
	n, err := in.client.UpdateNode(ctx, in.arg(0), api.UpdateNode{SetLabels: set, UnsetLabels: unset})
	if err != nil {
		return err
	}
	return in.print(n, func(o *output) {
		var all []string
		for _, k := range sortedKeys(n.AllLabels) {
			all = append(all, k+"="+n.AllLabels[k])
		}
		if all == nil {
			all = []string{"no labels"}
		}
		o.done("%s has %s", n.Name, strings.Join(all, ", "))
	})
}

func cordonNode(ctx context.Context, in *invocation) error {
	return in.schedule(ctx, cluster.ScheduleCordoned, func(o *output, n *api.NodeDetail) {
		o.done("%s is cordoned  %s", n.Name, o.outStyle.dim("no new replica comes; its "+replicaCount(len(n.Replicas))+" stay"))
		o.next("paas nodes uncordon " + n.Name)
	})
}

func uncordonNode(ctx context.Context, in *invocation) error {
	return in.schedule(ctx, cluster.ScheduleOpen, func(o *output, n *api.NodeDetail) { o.done("%s takes new replicas", n.Name) })
}

func replicaCount(n int) string { return counted(n, "replica") }

// schedule changes what may run on a node and says what then is.
func (in *invocation) schedule(ctx context.Context, s cluster.NodeSchedule, say func(*output, *api.NodeDetail)) error {
	n, err := in.client.UpdateNode(ctx, in.arg(0), api.UpdateNode{Schedule: s})
	if err != nil {
		return err
	}
	return in.print(n, func(o *output) { say(o, n) })
}
