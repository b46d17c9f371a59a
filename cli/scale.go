package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

func scaleVerb() *verb {
	return &verb{name: "scale", group: groupChange, summary: "number of replicas: web=3 worker+1", args: "[TYPE=N | TYPE+N | TYPE-N]...",
		takes: zeroOrMore, needs: needsApp, flags: waitFlags(), run: scale,
		about: "Without arguments it prints the quantities in a form that can be pasted back. What does not\n" +
			"fit on the nodes is refused with numbers, and nothing is changed (exit 7).",
		examples: []string{"paas scale web=3", "paas scale web+1 worker-1", "paas scale -a blog"}}
}

// scaleRE is TYPE, an operator and a number.
var scaleRE = regexp.MustCompile(`^([A-Za-z0-9_-]*[A-Za-z0-9_])([=+-])([0-9]{1,9})$`)

// parseScale reads "web=3", "worker+1" and "web-1".
func parseScale(words []string) (api.Scale, error) {
	var s api.Scale
	for _, w := range words {
		m := scaleRE.FindStringSubmatch(w)
		if m == nil {
			return s, cluster.Invalid("scale", "%q is no quantity", w).WithHint("write TYPE=N, TYPE+N or TYPE-N: paas scale web=3 worker+1")
		}
		n, err := strconv.Atoi(m[3])
		if err != nil {
			return s, cluster.Invalid("scale", "%q is no quantity", w).Because("%v", err)
		}
		if m[2] == "-" {
			n = -n
		}
		s.Changes = append(s.Changes, api.ScaleChange{Type: cluster.ProcessType(m[1]), Quantity: n, Relative: m[2] != "="})
	}
	return s, nil
}

func scale(ctx context.Context, in *invocation) error {
	if len(in.args) == 0 {
		list, err := in.client.Processes(ctx, in.app)
		if err != nil {
			return err
		}
		return in.print(list.Formation, func(o *output) { o.printf("%s\n", formation(list)) })
	}
	change, err := parseScale(in.args)
	if err != nil {
		return err
	}
	in.header()
	began := time.Now()
	list, err := in.client.Scale(ctx, in.app, change)
	if err != nil {
		return err
	}
	if !in.Bool("detach") {
		if err := in.settle(ctx, change.Types()); err != nil {
			return err
		}
	}
	if in.jsonStream() {
		return nil
	}
	if in.out.json && !in.Bool("detach") { // as it is now, not as it was when asked
		if list, err = in.client.Processes(ctx, in.app); err != nil {
			return err
		}
	}
	return in.print(list, func(o *output) {
		var parts []string
		for _, c := range change.Changes {
			if part := fmt.Sprintf("%s is %d", c.Type, list.Formation[c.Type]); !slices.Contains(parts, part) {
				parts = append(parts, part)
			}
		}
		o.done("%s  %s", strings.Join(parts, ", "), o.outStyle.dim(short(time.Since(began))))
	})
}

// settle waits until what runs of the types is what is wanted; none means all.
func (in *invocation) settle(ctx context.Context, types []cluster.ProcessType) error {
	leave := func() leaving {
		return leaving{"the change to " + string(in.app) + " goes on", "see: paas ps -a " + string(in.app)}
	}
	return in.follow(ctx, leave, func(ctx context.Context, report func(api.Progress)) error {
		return in.client.Settle(ctx, in.app, types, report)
	})
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
