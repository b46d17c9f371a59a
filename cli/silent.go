package cli

import (
	"fmt"
	"time"

	"paas/api"
	"paas/cluster"
)

// tellSilent names replicas that pass their check and answer no request. They are
// the app's to look into, so none is ended: what hangs now may be seen in it only now.
func (in *invocation) tellSilent(list *api.ProcessList) {
	found := answerless(list, time.Now())
	if len(found) == 0 {
		return
	}
	for _, f := range found {
		in.out.warnf("%s", f)
	}
	in.out.next(fmt.Sprintf("paas logs -a %s", list.App), fmt.Sprintf("paas restart -a %s", list.App))
}

// answerless says of each replica that owes answers for how long, and what that means.
func answerless(list *api.ProcessList, now time.Time) (out []string) {
	others := map[cluster.ProcessType]bool{}
	for _, a := range list.Allocations {
		if a.SilentSince.IsZero() && a.Observed.State == cluster.AllocationHealthy {
			others[a.Type] = true
		}
	}
	for _, a := range list.Allocations {
		if a.SilentSince.IsZero() {
			continue
		}
		means := "no other can take them"
		if others[a.Type] {
			means = "the others get them"
		}
		out = append(out, fmt.Sprintf("%s takes requests and has answered none for %s; %s", a.Instance, age(now.Sub(a.SilentSince)), means))
	}
	return out
}
