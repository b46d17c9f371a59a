package cli

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func runVerb() *verb {
	return &verb{name: "run", group: groupChange, summary: "one-off command in a new container", args: "[--] COMMAND [ARG]...", takes: oneOrMore,
		needs: needsApp, belongs: afterNone, ownSignals: true, run: runCommand,
		about: "The container has the current release's image and config, and goes when the command ends.\n" +
			"Our flags stand before COMMAND; everything from there on is COMMAND's. The exit code is\n" +
			"COMMAND's own. A terminal, its size, signals and piped input are passed through; without a\n" +
			"terminal a second Ctrl-C ends the wait, and with it the container.",
		flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "`KEY=VALUE` beside the app's config; may be repeated"},
			&cli.BoolFlag{Name: "no-tty", Usage: "do not give the command a terminal"}},
		examples: []string{"paas run bash", "paas run -a blog -- rake db:migrate", "pg_dump old | paas run psql"}}
}

func runCommand(ctx context.Context, in *invocation) error {
	env := map[string]cluster.Redacted{}
	for _, assignment := range in.StringSlice("env") {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return cluster.Invalid("env", "--env %s is invalid", oneLine(key)).Because("it has the form KEY=VALUE")
		}
		if err := cluster.ValidateConfigKey(key); err != nil {
			return err
		}
		if err := cluster.ValidateConfigValue(key, value); err != nil {
			return err
		}
		env[key] = cluster.Redacted(value)
	}
	return in.attach(ctx, func(ctx context.Context, t *terminal) (int, error) {
		return in.client.Run(ctx, api.RunRequest{App: in.app, Command: in.args, TTY: t.tty, Rows: t.rows, Cols: t.cols, Env: env}, t)
	})
}

func execVerb() *verb {
	return &verb{name: "exec", group: groupChange, summary: "command inside a running replica", args: "INSTANCE [--] COMMAND [ARG]...", takes: arity{2, -1},
		needs: needsApp, belongs: afterFirst, ownSignals: true, run: execCommand,
		about: "INSTANCE is a name that paas ps shows: web.1; web is enough while there is one replica of it.\n" +
			"Everything from COMMAND on is COMMAND's.",
		flags:    []cli.Flag{&cli.BoolFlag{Name: "no-tty", Usage: "do not give the command a terminal"}},
		examples: []string{"paas exec web.1 sh", "paas exec web.1 -- ps aux"}}
}

func execCommand(ctx context.Context, in *invocation) error {
	instance, err := in.replica(ctx)
	if err != nil {
		return err
	}
	return in.attach(ctx, func(ctx context.Context, t *terminal) (int, error) {
		return in.client.Exec(ctx, api.ExecRequest{App: in.app, Instance: instance, Command: in.args[1:], TTY: t.tty, Rows: t.rows, Cols: t.cols}, t)
	})
}

// replica is the instance that the first argument names: a type's only one, too.
func (in *invocation) replica(ctx context.Context) (string, error) {
	name := in.arg(0)
	if strings.Contains(name, ".") || cluster.ProcessType(name).Validate() != nil {
		return name, nil // the server knows what it is
	}
	list, err := in.client.Processes(ctx, in.app)
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range list.Allocations {
		if string(a.Type) == name && a.Desired == cluster.DesiredRun && !slices.Contains(found, a.Instance) {
			found = append(found, a.Instance)
		}
	}
	switch len(found) {
	case 0:
		return name, nil
	case 1:
		return found[0], nil
	}
	return "", cluster.Invalid("instance", "the command was not run").Because("%s has %d replicas", name, len(found)).
		WithHint("name one of them: paas exec " + found[0] + " -a " + string(in.app) + " -- " + shellWord(in.args[1]))
}

// attach connects a remote command to this terminal or pipe; its exit code
// becomes ours.
func (in *invocation) attach(ctx context.Context, run func(context.Context, *terminal) (int, error)) error {
	for i, word := range in.args {
		if !utf8.ValidString(word) || strings.ContainsRune(word, 0) {
			return cluster.Invalid("command", "word %d of the command is not text", i+1).Because("it holds a NUL byte, or bytes that are not UTF-8").
				WithHint("send it through stdin: paas run -- COMMAND < FILE")
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := openTerminal(in, cancel)
	if err != nil {
		return err
	}
	code, err := run(ctx, t)
	t.close()
	if ctx.Err() != nil && isDone(ctx, err) {
		return interrupted("interrupted before the command began", in.sameLine())
	}
	if err != nil {
		return err
	}
	if t.missing != "" {
		return &coded{cluster.Invalid("command", "%s was not run", oneLine(in.args[0])).Because("the app's image has no such program (%s)", t.missing).
			WithHint("name one that it has, with its path if it is not in PATH; what a shell must read: paas run -a " + string(in.app) + " -- sh -c 'COMMAND'"), code}
	}
	if code != 0 {
		return status(code)
	}
	return nil
}

// sameLine is how to run the command once more.
func (in *invocation) sameLine() string {
	line := "try again: paas " + in.verb.path() + " -a " + string(in.app)
	for _, word := range in.args {
		line += " " + shellWord(word)
	}
	return line
}
