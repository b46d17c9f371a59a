package cli

import (
	"context"
	"os/exec"

	"github.com/urfave/cli/v2"
)

func openVerb() *verb {
	return &verb{name: "open", group: groupStart, summary: "open an app in a browser", needs: needsApp, run: openApp,
		flags:    []cli.Flag{&cli.BoolFlag{Name: "print", Usage: "only print the address"}},
		examples: []string{"paas open", "curl $(paas open --print)"}}
}

func openApp(ctx context.Context, in *invocation) error {
	app, err := in.client.App(ctx, in.app)
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(app)
	}
	in.out.printf("%s\n", app.URL)
	if app.Current == 0 {
		in.out.warnf("%s has no release yet: nothing answers there", in.app)
	}
	if in.Bool("print") || !in.out.outTTY || in.env("DISPLAY") == "" && in.env("WAYLAND_DISPLAY") == "" && in.env("BROWSER") == "" {
		return nil
	}
	for _, program := range []string{"xdg-open", "open", "sensible-browser"} {
		if path, err := exec.LookPath(program); err == nil {
			return exec.CommandContext(ctx, path, app.URL).Start() // it lives on without us
		}
	}
	in.out.notef("No program to open it with was found.\n")
	return nil
}
