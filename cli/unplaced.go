package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"paas/api"
	"paas/cluster"
)

// tellUnplaced names the replicas that should run and fit nowhere, with what each node,
// or zone, says against them. What waits for a volume whose node was removed waits for
// ever.
func (in *invocation) tellUnplaced(ctx context.Context, list *api.ProcessList) {
	found := unplaced(list)
	if len(found) == 0 {
		return
	}
	for _, f := range found {
		in.out.warnf("%s", f)
	}
	next := []string{"paas nodes"}
	if all, err := in.client.Volumes(ctx, list.App); err == nil { // else the reasons have to do
		next = append(lostVolumes(all), next...)
	}
	in.out.next(next...)
}

// unplaced says of each process type which replicas have no place, and why. One that
// runs has lost nothing yet: it only cannot leave.
func unplaced(list *api.ProcessList) (out []string) {
	stays := func(u cluster.Unplaced) bool {
		return slices.ContainsFunc(list.Allocations, func(a api.AllocationInfo) bool {
			return a.Type == u.Type && a.Slot == u.Slot && a.Desired == cluster.DesiredRun && a.Observed.State == cluster.AllocationHealthy
		})
	}
	for i, u := range list.Unplaced {
		alike := func(o cluster.Unplaced) bool { return o.Type == u.Type && stays(o) == stays(u) }
		if slices.ContainsFunc(list.Unplaced[:i], alike) {
			continue
		}
		var names []string
		for _, o := range list.Unplaced[i:] {
			if alike(o) {
				names = append(names, fmt.Sprintf("%s.%d", o.Type, o.Slot))
			}
		}
		what := [2]string{"fits nowhere:", "fit nowhere:"}
		if stays(u) {
			what = [2]string{"cannot be moved or replaced, and stays where it is:", "cannot be moved or replaced, and stay where they are:"}
		}
		out = append(out, subject(names, what)+"\n    "+strings.Join(u.Reasons, "\n    "))
	}
	return out
}

// mostNamed is how many replicas are named one by one.
const mostNamed = 5

// subject is a sentence about one replica, or about several.
func subject(names []string, what [2]string) string {
	switch {
	case len(names) == 1:
		return names[0] + " " + what[0]
	case len(names) > mostNamed:
		return fmt.Sprintf("%s and %d more of its type %s", names[0], len(names)-1, what[1])
	}
	return strings.Join(names, ", ") + " " + what[1]
}
