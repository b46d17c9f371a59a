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
	found := unplaced(list.Unplaced)
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

// unplaced says of each process type which replicas have no place, and why.
func unplaced(list []cluster.Unplaced) (out []string) {
	for i, u := range list {
		if slices.ContainsFunc(list[:i], func(o cluster.Unplaced) bool { return o.Type == u.Type }) {
			continue
		}
		name := fmt.Sprintf("%s.%d", u.Type, u.Slot)
		more := 0
		for _, o := range list[i+1:] {
			if o.Type == u.Type {
				more++
			}
		}
		if more > 0 {
			name += fmt.Sprintf(" and %d more of its type fit nowhere:", more)
		} else {
			name += " fits nowhere:"
		}
		out = append(out, name+"\n    "+strings.Join(u.Reasons, "\n    "))
	}
	return out
}
