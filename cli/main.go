package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/cluster"
	"paas/server"
)

// program is the world that one invocation runs in.
type program struct {
	stdin io.Reader
	out   *output
	env   func(string) string
	root  *verb
}

// Main runs one invocation of the program and returns its exit code. args[0] is
// the name it was called by: git calls it "pre-receive".
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 0 && filepath.Base(args[0]) == "pre-receive" {
		return server.GitHook([]string{"pre-receive"}, stdin, stdout)
	}
	p := &program{stdin: stdin, out: newOutput(stdout, stderr, os.Getenv), env: os.Getenv, root: verbs()}
	var words []string
	if len(args) > 1 {
		words = args[1:]
	}
	err := p.run(context.Background(), words)
	p.out.show(err)
	return exitCode(err)
}

// run finds the command in words and runs it.
func (p *program) run(ctx context.Context, words []string) error {
	// What goes wrong before the flags are read is told as the flags ask for.
	head := words
	if i := slices.Index(words, "--"); i >= 0 {
		head = words[:i]
	}
	p.out.json = slices.Contains(head, "--json") || p.env("PAAS_OUTPUT") == "json"
	words, ours := withoutColon(p.root, words)
	a, err := arrange(p.root, words)
	if a.stray != "" {
		return p.notACommand(a)
	}
	if asksHelp(a, words) {
		return p.help(a)
	}
	if err != nil {
		return err
	}
	if ours != "" && p.out.errTTY {
		p.out.notef("%s\n", p.out.errStyle.dim("also: paas "+ours))
	}
	if a.verb == p.root && slices.Contains(a.flags, "--version") {
		a = arranged{verb: p.root.sub("version"), path: []string{"version"}}
	}
	if a.verb.run == nil {
		return p.help(a)
	}
	if err := checkArity(a); err != nil {
		return err
	}
	return p.dispatch(ctx, a)
}

// dispatch hands the line to urfave/cli, which reads the flags' values.
func (p *program) dispatch(ctx context.Context, a arranged) error {
	var failure error
	run := func(ctx context.Context, v *verb, c *cli.Context) error {
		failure = p.invoke(ctx, v, c)
		return nil
	}
	app := &cli.App{Name: "paas", Writer: io.Discard, ErrWriter: io.Discard, HideHelp: true, HideVersion: true,
		ExitErrHandler: func(*cli.Context, error) {}}
	for _, v := range p.root.verbs {
		app.Commands = append(app.Commands, v.command(run))
	}
	if err := app.RunContext(ctx, append([]string{"paas"}, a.line()...)); err != nil {
		return err
	}
	return failure
}

// invoke runs one command.
func (p *program) invoke(ctx context.Context, v *verb, c *cli.Context) error {
	if err := parseColor(c.String("color")); err != nil {
		return err
	}
	o := *p.out
	o.json = o.json || c.Bool("json")
	o.quiet = c.Bool("quiet")
	o.paint(p.env, c.String("color"))
	p.out = &o // errors are told in the same way
	if !v.ownSignals {
		var stop func()
		ctx, stop = p.interruptible(ctx)
		defer stop()
	}
	in := &invocation{program: p, Context: c, verb: v, args: c.Args().Slice()}
	if err := in.checkWait(); err != nil {
		return err
	}
	if err := in.prepare(ctx); err != nil {
		return in.explain(in.target, err)
	}
	err := v.run(ctx, in)
	if err == nil {
		err = in.aged()
	}
	err = in.explain(in.target, err)
	var told *coded
	var quiet status
	if isDone(ctx, err) && err != nil && !errors.As(err, &told) && !errors.As(err, &quiet) {
		return in.unanswered()
	}
	return err
}

// unanswered is Ctrl-C before a server said what became of a request.
func (in *invocation) unanswered() error {
	hint := ""
	if in.app != "" {
		hint = "see what became of it: paas status -a " + string(in.app)
	}
	return interrupted("interrupted before there was an answer", hint)
}

// checkArity refuses too few and too many arguments.
func checkArity(a arranged) error {
	n, takes := len(a.args), a.verb.takes
	usage := strings.TrimSpace("paas " + a.verb.path() + " " + a.verb.args)
	switch {
	case n < takes.min:
		return cluster.Invalid("arguments", "paas %s: an argument is missing", a.verb.path()).WithHint("usage: " + usage)
	case slices.Contains(a.args[:takes.min], ""): // a script's empty variable, and not "the usual one"
		return cluster.Invalid("arguments", "paas %s: an argument is empty", a.verb.path()).WithHint("usage: " + usage)
	case takes.max >= 0 && n > takes.max:
		return cluster.Invalid("arguments", "paas %s: too many arguments", a.verb.path()).
			Because("%q is one more than it takes", a.args[takes.max]).WithHint("usage: " + usage)
	}
	return nil
}

// notACommand says what the first word that is no command may have meant.
func (p *program) notACommand(a arranged) error {
	word, prefix := a.stray, "paas"
	if a.verb != p.root {
		prefix += " " + a.verb.path()
	}
	e := cluster.Invalid("command", "no command %q", strings.TrimSpace(strings.TrimPrefix(prefix+" "+word, "paas ")))
	var names []string
	for _, s := range a.verb.verbs {
		if !s.hidden {
			names = append(names, s.name)
		}
	}
	if ours := otherNames[word]; ours != "" && a.verb == p.root {
		return e.WithHint("did you mean: paas " + ours)
	}
	if near := cluster.Nearest(word, names); len(near) > 0 {
		return e.WithHint("did you mean: " + prefix + " " + near[0])
	}
	return e.WithHint("see: " + prefix + " --help")
}

// isDone reports whether err is only ctx's end.
func isDone(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}
