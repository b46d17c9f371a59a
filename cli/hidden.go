package cli

import (
	"context"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"

	"paas/builder"
	"paas/cluster"
	"paas/server"
)

func gitHookVerb() *verb {
	return &verb{name: "git-hook", hidden: true, summary: "hook of the server's repositories", args: "NAME", takes: oneOrMore,
		run: func(_ context.Context, in *invocation) error {
			if code := server.GitHook(in.args, in.stdin, in.out.out); code != 0 {
				return status(code)
			}
			return nil
		}}
}

func serveStaticVerb() *verb {
	return &verb{name: "serve-static", hidden: true, summary: "file server of static sites", args: "[DIR]", takes: upToOne,
		flags: []cli.Flag{&cli.StringFlag{Name: "listen", Usage: "`ADDRESS`; else every address, on $PORT or 8080"}},
		run: func(ctx context.Context, in *invocation) error {
			dir := in.arg(0)
			if dir == "" {
				dir = "."
			}
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return cluster.Invalid("folder", "there is no folder %q to serve", oneLine(dir))
			}
			if at := in.String("listen"); at != "" {
				if _, err := cluster.ParseAddress("listen", everywhere(at)); err != nil {
					return err
				}
			}
			return builder.ServeStatic(ctx, dir, in.String("listen"), slog.New(slog.NewTextHandler(in.out.err, nil)))
		}}
}

func routesVerb() *verb {
	return &verb{name: "routes", hidden: true, summary: "the server's live route table, with the right that each route demands", needs: needsServer,
		run: func(ctx context.Context, in *invocation) error {
			list, err := in.client.Routes(ctx)
			if err != nil {
				return err
			}
			return in.print(list, func(o *output) {
				var rows [][]string
				for _, r := range list {
					rule := r.Scope.String()
					switch {
					case r.Public:
						rule = "public: " + r.Reason
					case r.Once:
						rule = "one-time token"
					case r.App:
						rule += " on the app"
					case r.Filtered:
						rule += ", what it may see"
					}
					rows = append(rows, []string{r.Method, r.Path, rule, r.Summary})
				}
				o.table([]string{"METHOD", "PATH", "RULE", "WHAT"}, rows)
			})
		}}
}
