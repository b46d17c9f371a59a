package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

func psVerb() *verb {
	return &verb{name: "ps", group: groupLook, summary: "what runs: replicas, where, how", needs: needsApp,
		examples: []string{"paas ps", "paas ps -a blog --json"}, run: listProcesses}
}

func listProcesses(ctx context.Context, in *invocation) error {
	list, err := in.client.Processes(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		if len(list.Allocations) == 0 {
			o.notef("Nothing runs.\n")
			if len(list.Unplaced) > 0 {
				in.tellUnplaced(ctx, list)
				return
			}
			if list.Release == 0 {
				o.next("git push paas main")
			} else {
				o.next("paas scale web=1 -a " + string(list.App))
			}
			return
		}
		o.table(replicaHead, replicaRows(o, list, time.Now()))
		if o.outTTY {
			o.notef("%s\n", o.errStyle.dim(formation(list)))
		}
		in.tellUnplaced(ctx, list)
		in.tellCrashing(ctx, list)
		in.tellSilent(list)
	})
}

var replicaHead = []string{"INSTANCE", "RELEASE", "NODE", "ZONE", "STATE", "UP", "RESTARTS", "WHY"}

func replicaRows(o *output, list *api.ProcessList, now time.Time) [][]string {
	var rows [][]string
	for _, a := range list.Allocations {
		up := "-"
		if !a.Observed.StartedAt.IsZero() && !a.Observed.State.Terminal() {
			up = age(now.Sub(a.Observed.StartedAt))
		}
		rows = append(rows, []string{a.Instance, a.Release.String(), a.NodeName, a.Zone,
			o.state(allocationState(&a, now)), up, fmt.Sprint(a.Observed.Restarts), oneLine(a.Observed.Reason)})
	}
	return rows
}

// allocationState is a replica's state, and what routers know of it beyond that.
func allocationState(a *api.AllocationInfo, now time.Time) (glyph, string) {
	g, word := replicaState(a.Desired, a.Observed.State)
	if a.SilentSince.IsZero() {
		return g, word
	}
	return bad, word + ", not answering for " + age(now.Sub(a.SilentSince))
}

// replicaState is a replica's state in one word.
func replicaState(desired cluster.DesiredState, state cluster.AllocationState) (glyph, string) {
	switch {
	case desired == cluster.DesiredStop && !state.Terminal():
		return busy, "stopping"
	case state == cluster.AllocationHealthy && desired == cluster.DesiredDrain:
		return busy, "draining"
	case state == cluster.AllocationHealthy:
		return good, state.String()
	case state == cluster.AllocationUnhealthy, state == cluster.AllocationBackoff, state == cluster.AllocationFailed:
		return bad, state.String()
	case state == cluster.AllocationStopped:
		return idle, state.String()
	}
	return busy, state.String()
}

// age is a duration in its largest unit, as people say it.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// ago is when something was, relative to now.
func ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return age(time.Since(t)) + " ago"
}

// formation is the quantities as "scale" takes them: "web=3 worker=1".
func formation(list *api.ProcessList) string {
	var parts []string
	for _, t := range sortedKeys(list.Formation) {
		parts = append(parts, fmt.Sprintf("%s=%d", t, list.Formation[t]))
	}
	return strings.Join(parts, " ")
}
