package cli

import (
	"context"
	"fmt"

	"paas/api"
	"paas/cluster"
)

func nodesVerb() *verb {
	return &verb{name: "nodes", aliases: []string{"node"}, group: groupOperate, summary: "hosts: zone, state, what is reserved", needs: needsServer,
		examples: []string{"paas nodes", "paas nodes --json"}, run: listNodes}
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
