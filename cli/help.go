package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

func helpVerb() *verb {
	return &verb{name: "help", group: groupSelf, summary: "help for a command or a topic", args: "[COMMAND... | TOPIC]", takes: zeroOrMore,
		about: "Topics: exit-codes, environment, apps-of-folders, paas.toml, procfile, app.json, volumes, cluster, limits.", examples: []string{"paas help scale", "paas help exit-codes"},
		run: func(_ context.Context, in *invocation) error {
			if topic, ok := topics[strings.ToLower(in.arg(0))]; ok && len(in.args) == 1 {
				in.out.printf("%s", topic)
				return nil
			}
			words, _ := withoutColon(in.root, in.args)
			v, _, left, _ := resolve(in.root, words)
			if len(left) > 0 {
				return in.program.noHelp(v, left[0])
			}
			return in.program.help(arranged{verb: v})
		}}
}

// noHelp says which topic or command may have been meant.
func (p *program) noHelp(v *verb, word string) error {
	names := sortedKeys(topics)
	for _, s := range v.verbs {
		names = append(names, s.name)
	}
	e := cluster.Invalid("topic", "no help for %q", word)
	if near := cluster.Nearest(word, names); len(near) > 0 {
		return e.WithHint("did you mean: paas help " + near[0])
	}
	return e.WithHint("see: paas help")
}

// asksHelp reports whether a line asks for help: it does so wherever -h stands.
func asksHelp(a arranged, words []string) bool {
	return len(words) == 0 || slices.Contains(a.flags, "--help") || a.verb.parent == nil && len(a.args) == 0 && len(a.flags) == 0
}

func (p *program) help(a arranged) error {
	if a.verb == p.root {
		p.out.printf("%s", p.rootHelp())
		return nil
	}
	p.out.printf("%s", p.verbHelp(a.verb))
	return nil
}

// rootHelp fits one screen: what is used daily line by line, the rest by name.
func (p *program) rootHelp() string {
	s := p.out.outStyle
	var b strings.Builder
	fmt.Fprintf(&b, "%s — %s%s\n\n", s.bold("paas"), p.root.summary, s.dim("   "+version))
	for _, g := range groups {
		head := g
		var names []string
		for _, v := range p.root.verbs {
			if v.group != g || v.hidden {
				continue
			}
			names = append(names, v.name)
			if g == groupOperate || g == groupSelf {
				continue
			}
			fmt.Fprintf(&b, "  %s %-12s %s\n", s.bold(fmt.Sprintf("%-10s", head)), v.name, v.summary)
			head = ""
		}
		if head != "" {
			fmt.Fprintf(&b, "  %s %s\n", s.bold(fmt.Sprintf("%-10s", head)), strings.Join(names, "  "))
		}
	}
	b.WriteString("\nExamples     paas apps create && git push paas main\n             paas logs -f -p web -n 50\n")
	b.WriteString("More         paas help COMMAND · paas COMMAND -h · paas help exit-codes\n")
	return b.String()
}

// verbHelp is a command's manual page.
func (p *program) verbHelp(v *verb) string {
	s := p.out.outStyle
	var b strings.Builder
	fmt.Fprintf(&b, "paas %s — %s\n\n", v.path(), v.summary)
	if v.run != nil {
		fmt.Fprintf(&b, "%s\n  %s\n", s.bold("Usage"), strings.TrimSpace("paas "+v.path()+" [FLAG]... "+v.args))
	}
	if len(v.verbs) > 0 {
		fmt.Fprintf(&b, "%s\n", s.bold("Commands"))
		for _, c := range v.verbs {
			if !c.hidden {
				fmt.Fprintf(&b, "  %-34s %s\n", strings.TrimSpace("paas "+c.path()+" "+c.args), c.summary)
			}
		}
	}
	if v.about != "" {
		fmt.Fprintf(&b, "\n%s\n", v.about)
	}
	if len(v.examples) > 0 {
		fmt.Fprintf(&b, "\n%s\n", s.bold("Examples"))
		for _, e := range v.examples {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", s.bold("Flags"))
	for _, f := range v.allFlags() {
		if line := flagHelp(f); line != "" {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	return b.String()
}

// flagHelp is one flag's line; "" if it is hidden. The word in back quotes of its
// usage names the value.
func flagHelp(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if v, visible := f.(cli.VisibleFlag); !ok || visible && !v.IsVisible() {
		return ""
	}
	names, long := "", ""
	for _, n := range f.Names() {
		if len(n) == 1 && names == "" {
			names = "-" + n + ", "
		} else if len(n) > 1 && long == "" {
			long = "--" + n
		}
	}
	if names == "" {
		names = "    "
	}
	usage, value := d.GetUsage(), ""
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		value, rest, _ = strings.Cut(rest, "`")
		usage = before + value + rest
	}
	if d.TakesValue() {
		if value == "" {
			value = "VALUE"
		}
		long += " " + value
	}
	if def := d.GetDefaultText(); d.TakesValue() && def != "" && def != `""` && def != "0s" && def != "0" {
		usage += " (default " + strings.Trim(def, `"`) + ")"
	}
	if env := d.GetEnvVars(); len(env) > 0 {
		usage += " (" + strings.Join(env, ", ") + ")"
	}
	return fmt.Sprintf("%-28s %s", names+long, usage)
}
