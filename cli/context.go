package cli

import (
	"context"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/cluster"
	"paas/identity"
)

func contextVerb() *verb {
	return &verb{name: "context", aliases: []string{"contexts"}, group: groupSelf, summary: "clusters that this tool knows", run: listContexts,
		examples: []string{"paas context", "paas context use prod"},
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list contexts", examples: []string{"paas context list"}, run: listContexts},
			{name: "use", summary: "make a context the current one", args: "NAME", takes: one, examples: []string{"paas context use prod"}, run: useContext},
			{name: "add", summary: "add a cluster by address, authority and token", args: "NAME", takes: one, run: addContext,
				flags: []cli.Flag{
					&cli.StringFlag{Name: "server", Usage: "`URL`: https://HOST:7443"},
					&cli.StringFlag{Name: "ca", Usage: "`FILE` with the cluster's authority (PEM); without it the system's roots count"},
					&cli.StringFlag{Name: "token", Usage: "`TOKEN`, or - for stdin"},
					&cli.BoolFlag{Name: "use", Usage: "make it the current one"},
				},
				examples: []string{"paas context add prod --server https://192.0.2.10:7443 --ca ca.pem --token - < token"}},
			{name: "remove", aliases: []string{"rm"}, summary: "forget a context and its token", args: "NAME", takes: one,
				examples: []string{"paas context remove old"}, run: removeContext},
		}}
}

// contextLine is a context as "context list --json" shows it.
type contextLine struct {
	Name    string `json:"name"`
	Current bool   `json:"current"`
	contextRecord
}

func listContexts(_ context.Context, in *invocation) error {
	files, err := home(in.env)
	if err != nil {
		return err
	}
	f, err := files.contexts()
	if err != nil {
		return err
	}
	lines := []contextLine{}
	for _, name := range sortedKeys(f.Context) {
		lines = append(lines, contextLine{name, name == f.Current, f.Context[name]})
	}
	return in.print(lines, func(o *output) {
		if len(lines) == 0 {
			o.notef("No contexts yet.\n")
			o.next("paas up", "paas login https://HOST:7443 --ca-fingerprint … --token …")
			return
		}
		var rows [][]string
		for _, l := range lines {
			state := o.state(idle, "known")
			if l.Current {
				state = o.state(live, "current")
			}
			rows = append(rows, []string{l.Name, state, l.Server})
		}
		o.table([]string{"CONTEXT", "STATE", "SERVER"}, rows)
	})
}

func useContext(_ context.Context, in *invocation) error {
	files, err := home(in.env)
	if err != nil {
		return err
	}
	t, err := files.lookup(in.arg(0))
	if err != nil {
		return err
	}
	err = files.change(func(f *contextFile, _ *credentialFile) error {
		f.Current = t.name
		return nil
	})
	if err != nil {
		return err
	}
	return in.print(contextLine{t.name, true, t.record()}, func(o *output) { o.done("context is %s  %s", t.name, t.server) })
}

func addContext(_ context.Context, in *invocation) error {
	files, err := home(in.env)
	if err != nil {
		return err
	}
	t := &target{name: in.arg(0), server: in.String("server")}
	if t.server == "" {
		return cluster.Invalid("server", "the cluster's address is missing").WithHint("give it: --server https://HOST:7443")
	}
	if t.token, err = readToken(in.String("token"), in.stdin); err != nil {
		return err
	}
	if file := in.String("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return cluster.Invalid("ca", "%s cannot be read", file).Because("%v", err)
		}
		t.ca = string(pem)
	}
	if _, err := t.client(); err != nil {
		return err
	}
	use := keepCurrent
	if in.Bool("use") {
		use = makeCurrent
	}
	if err := files.put(t, use); err != nil {
		return err
	}
	return in.print(contextLine{t.name, use == makeCurrent, t.record()}, func(o *output) {
		o.done("context %s added  %s", t.name, t.server)
		if use == keepCurrent {
			o.next("paas context use " + t.name)
		}
	})
}

// readToken is the flag's value, or stdin's when that is "-". Its form is checked
// and never shown.
func readToken(text string, stdin io.Reader) (cluster.Redacted, error) {
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, 4096))
		if err != nil {
			return "", cluster.Invalid("token", "stdin cannot be read").Because("%v", err)
		}
		text = strings.TrimSpace(string(data))
	}
	if text == "" {
		return "", cluster.Invalid("token", "the token is missing").WithHint("give it: --token TOKEN, or --token - to read it from stdin")
	}
	if _, _, err := identity.ParseToken(text); err != nil {
		return "", cluster.Invalid("token", "this is no token").Because("a token looks like paas_ID_SECRET").WithHint("copy the whole of it")
	}
	return cluster.Redacted(text), nil
}

func removeContext(_ context.Context, in *invocation) error {
	files, err := home(in.env)
	if err != nil {
		return err
	}
	t, err := files.lookup(in.arg(0))
	if err != nil {
		return err
	}
	if err := files.drop(t.name); err != nil {
		return err
	}
	return in.print(t.record(), func(o *output) { o.done("context %s is forgotten", t.name) })
}
