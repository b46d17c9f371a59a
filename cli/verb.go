package cli

import (
	"context"

	"github.com/urfave/cli/v2"
)

// verb is one command. It reads like its manual page.
type verb struct {
	name    string
	aliases []string
	group   string // heading in the root help; "" is listed nowhere
	args    string // "[NAME]", for the usage line
	summary string // one line
	about   string // what a person must know before using it
	// examples are whole command lines.
	examples []string
	flags    []cli.Flag
	takes    arity
	needs    needs
	// belongs says that everything after so many positional arguments is another
	// program's command line.
	belongs handover
	hidden  bool
	// ownSignals leaves Ctrl-C to run.
	ownSignals bool
	// changes prints which app and context were chosen before run begins.
	changes bool
	run     func(ctx context.Context, in *invocation) error
	verbs   []*verb // sub-commands
	parent  *verb
}

// arity is how many positional arguments a verb takes: none, unless it says so; max
// -1 is no limit.
type arity struct{ min, max int }

var (
	one        = arity{1, 1}
	upToOne    = arity{0, 1}
	oneOrMore  = arity{1, -1}
	zeroOrMore = arity{0, -1}
)

// handover says where another program's command line begins in a verb's own.
type handover uint8

const (
	noHandover handover = iota
	afterNone           // with the first positional argument
	afterFirst          // with the second
)

// begins reports whether the next positional argument, after n others, is the
// other program's.
func (h handover) begins(n int) bool { return h != noHandover && n >= int(h-afterNone) }

// needs says what a verb must know before it runs.
type needs uint8

const (
	needsNothing needs = iota // works without any server
	needsServer               // a context
	needsApp                  // a context and an app
)

// path is the verb's whole name: "apps create".
func (v *verb) path() string {
	if v.parent == nil || v.parent.parent == nil {
		return v.name
	}
	return v.parent.path() + " " + v.name
}

// sub returns the sub-command called name, or nil.
func (v *verb) sub(name string) *verb {
	for _, s := range v.verbs {
		if s.name == name {
			return s
		}
		for _, a := range s.aliases {
			if a == name {
				return s
			}
		}
	}
	return nil
}

// allFlags are the verb's own flags and those that it shares with others.
func (v *verb) allFlags() []cli.Flag {
	flags := append([]cli.Flag{}, v.flags...)
	if v.needs >= needsApp {
		flags = append(flags, appFlags()...)
	}
	if v.needs >= needsServer {
		flags = append(flags, serverFlags()...)
	}
	return append(flags, baseFlags()...)
}

// command is the verb as urfave/cli wants it.
func (v *verb) command(run func(context.Context, *verb, *cli.Context) error) *cli.Command {
	c := &cli.Command{Name: v.name, Aliases: v.aliases, Usage: v.summary, ArgsUsage: v.args, Description: v.about,
		Category: v.group, Hidden: v.hidden, Flags: v.allFlags(), HideHelp: true,
		Action:       func(c *cli.Context) error { return run(c.Context, v, c) },
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return badFlag(v, err) },
	}
	for _, s := range v.verbs {
		c.Subcommands = append(c.Subcommands, s.command(run))
	}
	return c
}

// adopt sets the parents of everything below v.
func (v *verb) adopt() *verb {
	for _, s := range v.verbs {
		s.parent = v
		s.adopt()
	}
	return v
}

func baseFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print the API's own object; NDJSON for streams", EnvVars: nil},
		&cli.StringFlag{Name: "color", Usage: "`WHEN`: auto, always or never", Value: "auto"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no headers, hints or progress"},
		&cli.BoolFlag{Name: "no-input", Usage: "never ask; fail and name the flag instead"},
		&cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help"},
	}
}

func serverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "context", Aliases: []string{"c"}, Usage: "`NAME` of the cluster and credentials (PAAS_CONTEXT)"},
	}
}

func appFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "app", Aliases: []string{"a"}, Usage: "`NAME` of the app (PAAS_APP, paas.toml, git remote)"},
		&cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "the app of that git remote `NAME`"},
	}
}

// waitFlags are those of commands that follow long work.
func waitFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait for the end"},
		&cli.DurationFlag{Name: "timeout", Usage: "wait so long at most; the work goes on (exit 8)"},
		&cli.StringFlag{Name: "progress", Usage: "`FORM`: auto, tty, plain or json (PAAS_PROGRESS)", Value: "auto"},
	)
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}
}
