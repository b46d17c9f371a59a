package cli

import (
	"context"
	"flag"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

// shells are the scripts that make a shell ask "paas __complete". What it answers
// is only ever a list of words: no shell expands it.
var shells = map[string]string{
	"bash": `# bash completion for paas:  source <(paas completion bash)
_paas() {
  mapfile -t COMPREPLY < <(paas __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _paas paas
`,
	"zsh": `#compdef paas
# zsh completion for paas:  source <(paas completion zsh)
_paas() {
  local -a found
  found=("${(@f)$(paas __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -- "${(@)found:#}"
}
compdef _paas paas
`,
	"fish": `# fish completion for paas:  paas completion fish | source
complete -c paas -f -a '(paas __complete -- (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)'
`,
}

func completionVerb() *verb {
	return &verb{name: "completion", group: groupSelf, summary: "completion script for a shell", args: "bash|zsh|fish", takes: one,
		examples: []string{"source <(paas completion bash)", "paas completion fish > ~/.config/fish/completions/paas.fish"},
		run: func(_ context.Context, in *invocation) error {
			script, ok := shells[in.arg(0)]
			if !ok {
				return cluster.Invalid("shell", "no completion for %q", in.arg(0)).WithHint("use: bash, zsh or fish")
			}
			in.out.printf("%s", script)
			return nil
		}}
}

func completeVerb() *verb {
	return &verb{name: "__complete", hidden: true, summary: "words that may come next", args: "-- WORD...", takes: zeroOrMore, belongs: afterNone,
		run: func(ctx context.Context, in *invocation) error {
			ctx, cancel := context.WithTimeout(ctx, completionTime)
			defer cancel()
			words := in.args
			if len(words) == 0 {
				words = []string{""}
			}
			last := words[len(words)-1]
			for _, w := range in.candidates(ctx, words[:len(words)-1]) {
				if isFlag(w) && last == "" {
					continue // flags are many; who wants one begins it
				}
				if strings.HasPrefix(w, last) && w == plainText(w) {
					in.out.printf("%s\n", w)
				}
			}
			return nil
		}}
}

// completionTime is how long a person waits for a tab.
const completionTime = 300 * time.Millisecond

// candidates are the words that may follow words. Failures offer nothing.
func (in *invocation) candidates(ctx context.Context, words []string) []string {
	a, err := arrange(in.root, words)
	if err != nil { // most likely a flag that waits for its value
		last := words[len(words)-1]
		before, err := arrange(in.root, words[:len(words)-1]) // it may name the app
		if err != nil {
			return nil
		}
		if f := flagTable(before.verb.allFlags())[strings.TrimLeft(last, "-")]; f != nil && takesValue(f) {
			other, err := in.at(before)
			if err != nil {
				return nil
			}
			return other.named(ctx, f.Names()[0])
		}
		return nil
	}
	var out []string
	for _, s := range a.verb.verbs {
		if !s.hidden && len(a.args) == 0 {
			out = append(out, s.name)
		}
	}
	for _, f := range a.verb.allFlags() {
		if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
			out = append(out, "--"+f.Names()[0])
		}
	}
	if kind := positional[a.verb.path()]; kind != "" {
		if other, err := in.at(a); err == nil {
			out = append(out, other.named(ctx, kind)...)
		}
	}
	return out
}

// positional says what the arguments of a command name.
var positional = map[string]string{
	"apps info": "app", "apps destroy": "app", "git remote": "app", "context use": "context", "context remove": "context",
	"config get": "key", "config unset": "key", "domains remove": "host",
	"volumes info": "volume", "volumes attach": "volume", "volumes detach": "volume", "volumes destroy": "volume", "releases info": "release", "rollback": "release",
	"scale": "scale", "restart": "process", "exec": "instance", "completion": "shell", "help": "command",
	"builds log": "build", "builds cancel": "build", "deployments watch": "deployment", "deployments cancel": "deployment",
}

// at is an invocation of another line, as far as it is typed.
func (p *program) at(a arranged) (*invocation, error) {
	set := flag.NewFlagSet("paas", flag.ContinueOnError)
	for _, f := range a.verb.allFlags() {
		if err := f.Apply(set); err != nil {
			return nil, err
		}
	}
	if err := set.Parse(a.flags); err != nil {
		return nil, err
	}
	return &invocation{program: p, Context: cli.NewContext(&cli.App{}, set, nil), verb: a.verb, args: a.args}, nil
}

// named lists the names of one kind.
func (in *invocation) named(ctx context.Context, kind string) []string {
	switch kind {
	case "shell":
		return sortedKeys(shells)
	case "command":
		out := sortedKeys(topics)
		for _, v := range in.root.verbs {
			if !v.hidden {
				out = append(out, v.name)
			}
		}
		return out
	case "progress":
		return []string{"auto", "tty", "plain", "json"}
	case "color":
		return []string{"auto", "always", "never"}
	case "scope":
		return []string{"read", "deploy", "admin"}
	case "context":
		return in.contextNames()
	}
	var err error
	if in.target, err = in.findTarget(); err != nil {
		return nil
	}
	if in.client, err = in.target.client(); err != nil {
		return nil
	}
	if kind == "app" {
		apps, err := in.client.Apps(ctx)
		if err != nil {
			return nil
		}
		var out []string
		for _, a := range apps {
			out = append(out, string(a.Name))
		}
		return out
	}
	if in.findApp(ctx) != nil {
		return nil
	}
	return in.namedInApp(ctx, kind)
}

func (in *invocation) contextNames() []string {
	files, err := home(in.env)
	if err != nil {
		return nil
	}
	f, err := files.contexts()
	if err != nil {
		return nil
	}
	return sortedKeys(f.Context)
}

// namedInApp lists names that belong to the app; an error is an empty list.
func (in *invocation) namedInApp(ctx context.Context, kind string) (out []string) {
	switch kind {
	case "key":
		if list, err := in.client.Config(ctx, in.app); err == nil {
			for _, k := range list.Keys {
				out = append(out, k.Key)
			}
		}
	case "volume":
		list, _ := in.client.Volumes(ctx, in.app)
		for _, v := range list {
			out = append(out, string(v.Name))
		}
	case "host":
		list, _ := in.client.Domains(ctx, in.app)
		for _, d := range list {
			out = append(out, string(d.Host))
		}
	case "release":
		list, _ := in.client.Releases(ctx, in.app, 0)
		for _, r := range list {
			out = append(out, r.Version.String())
		}
	case "build":
		list, _ := in.client.Builds(ctx, in.app)
		for _, b := range list {
			out = append(out, string(b.ID))
		}
	case "deployment":
		list, _ := in.client.Deployments(ctx, in.app)
		for _, d := range list {
			out = append(out, string(d.ID))
		}
	case "process", "scale", "instance":
		return in.processNames(ctx, kind)
	}
	return out
}

func (in *invocation) processNames(ctx context.Context, kind string) (out []string) {
	list, err := in.client.Processes(ctx, in.app)
	if err != nil {
		return nil
	}
	if kind == "instance" {
		for _, a := range list.Allocations {
			out = append(out, a.Instance)
		}
		return out
	}
	for _, t := range sortedKeys(list.Formation) {
		word := string(t)
		if kind == "scale" {
			word += "="
		}
		out = append(out, word)
	}
	return out
}
