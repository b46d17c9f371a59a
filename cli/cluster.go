package cli

import "context"

func clusterVerb() *verb {
	return &verb{name: "cluster", group: groupOperate, summary: "the whole state, for comparison and audit",
		examples: []string{"paas cluster export > state.json"},
		verbs: []*verb{{name: "export", summary: "print the whole state in its canonical form, secrets sealed", needs: needsServer,
			examples: []string{"paas cluster export | sha256sum"},
			run:      func(ctx context.Context, in *invocation) error { return in.client.Export(ctx, in.out.out) }}}}
}
