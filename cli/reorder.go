package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

// arranged is a command line in the one order that urfave/cli understands: the
// command, its flags, "--", its arguments.
type arranged struct {
	verb *verb
	path []string
	// flags are "--name=value", each under its first name.
	flags []string
	args  []string
	// stray is the word where a sub-command was expected and none has that name.
	stray string
}

// line is what urfave/cli parses, without the program's name.
func (a arranged) line() []string {
	return slices.Concat(a.path, a.flags, []string{"--"}, a.args)
}

// arrange finds the command in words and sorts the rest into flags and
// arguments. Flags may stand anywhere, also before the command; "--" ends them.
// For commands that carry another program's command line, flags end where that
// begins.
func arrange(root *verb, words []string) (arranged, error) {
	v, path, rest, stray := resolve(root, words)
	a := arranged{verb: v, path: path, stray: stray}
	table := flagTable(v.allFlags())
	for len(rest) > 0 {
		word := rest[0]
		switch {
		case word == "--":
			a.args = append(a.args, rest[1:]...)
			return a, nil
		case v.belongs.begins(len(a.args)) && !isFlag(word):
			a.args = append(a.args, rest...)
			return a, nil
		case !isFlag(word):
			a.args = append(a.args, word)
			rest = rest[1:]
		default:
			flags, left, err := takeFlag(v, table, rest)
			if err != nil {
				return a, err
			}
			a.flags, rest = append(a.flags, flags...), left
		}
	}
	return a, nil
}

// isFlag tells flags from arguments: "-" alone is an argument, and so is a
// negative number.
func isFlag(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9')
}

// resolve walks from root down to the command that words name, and returns words
// without its name, and the word that no sub-command has as its name. Values of
// flags in between are not mistaken for commands.
func resolve(root *verb, words []string) (v *verb, path, rest []string, stray string) {
	v = root
	shared := slices.Concat(appFlags(), serverFlags(), baseFlags())
	table := flagTable(shared)
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" || len(v.verbs) == 0 {
			return v, path, append(rest, words[i:]...), ""
		}
		if !isFlag(word) {
			s := v.sub(word)
			if s == nil {
				return v, path, append(rest, words[i:]...), word
			}
			v, path, table = s, append(path, s.name), flagTable(slices.Concat(shared, s.flags))
			continue
		}
		rest = append(rest, word)
		if f := table[strings.TrimLeft(word, "-")]; f != nil && takesValue(f) && i+1 < len(words) {
			i++
			rest = append(rest, words[i])
		}
	}
	return v, path, rest, ""
}

// takeFlag reads the flag at the start of words, with its value, or several
// short ones written together ("-fn50").
func takeFlag(v *verb, table map[string]cli.Flag, words []string) (flags, rest []string, err error) {
	word, rest := words[0], words[1:]
	if long, ok := strings.CutPrefix(word, "--"); ok {
		name, value, has := strings.Cut(long, "=")
		f := table[name]
		if f == nil || len(name) < 2 {
			return nil, nil, unknownFlag(v, "--"+name)
		}
		return finishFlag(f, "--"+name, value, has, rest)
	}
	for cluster := word[1:]; cluster != ""; {
		name := cluster[:1]
		f := table[name]
		if f == nil {
			return nil, nil, unknownFlag(v, word)
		}
		cluster = cluster[1:]
		value, has := strings.TrimPrefix(cluster, "="), cluster != "" && (takesValue(f) || cluster[0] == '=')
		if has {
			cluster = ""
		}
		var one []string
		if one, rest, err = finishFlag(f, "-"+name, value, has, rest); err != nil {
			return nil, nil, err
		}
		flags = append(flags, one...)
	}
	return flags, rest, nil
}

// finishFlag writes a flag in its one form, taking its value from the next word
// if it needs one.
func finishFlag(f cli.Flag, shown, value string, has bool, rest []string) (flags, left []string, err error) {
	name := "--" + f.Names()[0]
	switch {
	case has:
		return []string{name + "=" + value}, rest, nil
	case !takesValue(f):
		return []string{name}, rest, nil
	case len(rest) == 0 || rest[0] == "--":
		return nil, nil, cluster.Invalid("flag", "flag %s needs a value", shown)
	}
	return []string{name + "=" + rest[0]}, rest[1:], nil
}

func flagTable(flags []cli.Flag) map[string]cli.Flag {
	table := map[string]cli.Flag{}
	for _, f := range flags {
		for _, name := range f.Names() {
			if table[name] == nil {
				table[name] = f
			}
		}
	}
	return table
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// unknownFlag says which flags v has that look like it.
func unknownFlag(v *verb, word string) error {
	var names []string
	for _, f := range v.allFlags() {
		for _, n := range f.Names() {
			if len(n) > 1 {
				names = append(names, "--"+n)
			}
		}
	}
	what := "paas " + v.path()
	if v.parent == nil {
		what = "paas"
	}
	e := cluster.Invalid("flag", "%s has no flag %s", what, word)
	if (word == "--yes" || word == "-y") && slices.Contains(names, "--confirm") {
		return e.Because("a yes is not enough here: the name has to be given again").WithHint("give it: --confirm NAME")
	}
	// "-app" is meant as "--app".
	if len(word) == 2 { // one letter is near to everything
		return e.WithHint("see: " + what + " --help")
	}
	if near := cluster.Nearest("--"+strings.TrimLeft(word, "-"), names); len(near) > 0 {
		return e.WithHint("did you mean: " + near[0])
	}
	return e.WithHint("see: " + what + " --help")
}

// badFlag is for values that urfave/cli could not read.
func badFlag(v *verb, err error) error {
	return cluster.Invalid("flag", "paas %s: a flag has a value that cannot be read", v.path()).
		Because("%s", err).WithHint("see: paas " + v.path() + " --help")
}
