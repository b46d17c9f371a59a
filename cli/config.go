package cli

import (
	"cmp"
	"context"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func configVerb() *verb {
	return &verb{name: "config", group: groupChange, summary: "show and set environment variables", needs: needsApp,
		about:    "Values are secrets: lists do not show them, and reading one leaves a line in the events.",
		examples: []string{"paas config", "paas config set LOG_LEVEL=debug", "paas config get DATABASE_URL"}, run: listConfig,
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list variables, without values", needs: needsApp, examples: []string{"paas config list"}, run: listConfig},
			{name: "set", summary: "set variables and roll them out", args: "KEY=VALUE...", takes: oneOrMore, needs: needsApp, changes: true,
				flags: waitFlags(), run: setConfig, about: "KEY=- takes the value from stdin, so that it stays out of the shell's history.",
				examples: []string{"paas config set LOG_LEVEL=info WORKERS=4", "paas config set API_KEY=- < key.txt"}},
			{name: "unset", aliases: []string{"rm"}, summary: "remove variables and roll that out", args: "KEY...", takes: oneOrMore, needs: needsApp, changes: true,
				flags: waitFlags(), run: unsetConfig, examples: []string{"paas config unset OLD_FLAG"}},
			{name: "get", summary: "print one value, and nothing else", args: "KEY", takes: one, needs: needsApp, run: getConfig,
				examples: []string{"paas config get DATABASE_URL"}},
			{name: "import", summary: "set variables from a .env file", args: "FILE", takes: one, needs: needsApp, run: importConfig,
				about: "FILE - is stdin. Variables that are not in the file stay. --diff reads the values that are set, which\nthe events show, and prints none.",
				flags: waitFlags(&cli.BoolFlag{Name: "diff", Usage: "show what would change, without values, and change nothing"},
					&cli.BoolFlag{Name: "exit-code", Usage: "with --diff: exit 10 when something would change"}),
				examples: []string{"paas config import .env", "paas config import .env --diff"}},
		}}
}

func listConfig(ctx context.Context, in *invocation) error {
	list, err := in.client.Config(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		if len(list.Keys) == 0 {
			o.notef("No variables are set.\n")
			o.next("paas config set KEY=VALUE -a " + string(in.app))
			return
		}
		var rows [][]string
		for _, k := range list.Keys {
			rows = append(rows, []string{k.Key, cluster.Redacted("").String(), release(k.Since)})
		}
		o.table([]string{"KEY", "VALUE", "SINCE"}, rows)
	})
}

// parseAssignments reads KEY=VALUE words; the one value "-" is stdin's.
func parseAssignments(words []string, stdin io.Reader) (map[string]cluster.Redacted, error) {
	set, piped := map[string]cluster.Redacted{}, ""
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, cluster.Invalid("config", "%s is invalid", oneLine(key)).Because("a variable has the form KEY=VALUE").
				WithHint("try: paas config set " + key + "=VALUE")
		}
		if err := cluster.ValidateConfigKey(key); err != nil {
			return nil, err
		}
		if _, twice := set[key]; twice {
			return nil, cluster.Invalid("config", "%s is given twice", key)
		}
		if value == "-" {
			if piped != "" {
				return nil, cluster.Invalid("config", "only one value can come from stdin").Because("%s and %s ask for it", piped, key)
			}
			piped = key
			data, err := io.ReadAll(io.LimitReader(stdin, cluster.MaxConfigValueBytes+2))
			if err != nil {
				return nil, cluster.Invalid("config", "stdin cannot be read").Because("%v", err)
			}
			value = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		}
		if err := cluster.ValidateConfigValue(key, value); err != nil {
			return nil, err
		}
		set[key] = cluster.Redacted(value)
	}
	return set, nil
}

func setConfig(ctx context.Context, in *invocation) error {
	set, err := parseAssignments(in.args, in.stdin)
	if err != nil {
		return err
	}
	return in.changeConfig(ctx, api.ChangeConfig{Set: set})
}

func unsetConfig(ctx context.Context, in *invocation) error {
	return in.changeConfig(ctx, api.ChangeConfig{Unset: in.args})
}

func (in *invocation) changeConfig(ctx context.Context, change api.ChangeConfig) error {
	res, err := in.inTurn(ctx, func(ctx context.Context) (*api.DeployResult, error) {
		return in.client.ChangeConfig(ctx, in.app, change)
	})
	if err != nil {
		return err
	}
	doing, done, keys := "Setting", "set", strings.Join(sortedKeys(change.Set), ", ")
	if len(change.Unset) > 0 {
		doing, done, keys = "Unsetting", "unset", strings.Join(change.Unset, ", ")
	}
	if res.Deployment == "" && !in.out.json && !in.jsonStream() {
		// The values are the same as before, or the app has no release yet.
		in.out.done("%s: %s; nothing has to be restarted", done, keys)
		return nil
	}
	in.out.notef("%s %s and restarting %s … %s\n", doing, keys, in.app, release(res.Release))
	return in.finish(ctx, res)
}

func getConfig(ctx context.Context, in *invocation) error {
	v, err := in.client.ConfigValue(ctx, in.app, in.arg(0))
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(v)
	}
	_, err = io.WriteString(in.out.out, v.Value+"\n") // raw: no transliteration
	return err
}

func importConfig(ctx context.Context, in *invocation) error {
	set, err := readDotenv(in.arg(0), in.stdin)
	if err != nil {
		return notSet(in.arg(0), asError(err))
	}
	if in.Bool("diff") {
		return in.diffConfig(ctx, set)
	}
	if len(set) == 0 {
		return cluster.Invalid("config", "nothing was set").Because("%s sets no variable", in.arg(0)).WithHint("put lines of the form KEY=VALUE into it")
	}
	in.header()
	return in.changeConfig(ctx, api.ChangeConfig{Set: set})
}

func readDotenv(name string, stdin io.Reader) (map[string]cluster.Redacted, error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, cluster.NotFound("file", "%s cannot be read", name).Because("%v", err)
		}
		defer f.Close()
		stdin = f
	}
	const limit = 4 << 20
	data, err := io.ReadAll(io.LimitReader(stdin, limit+1))
	if err != nil || len(data) > limit {
		return nil, cluster.Invalid("config", "%s cannot be read", name).Because("it is larger than %d bytes, or ended early", limit)
	}
	parsed, err := parseDotenv(string(data))
	if err != nil {
		return nil, err
	}
	set := map[string]cluster.Redacted{}
	for key, value := range parsed {
		if err := cluster.ValidateConfigValue(key, value); err != nil {
			return nil, err
		}
		set[key] = cluster.Redacted(value)
	}
	return set, nil
}

// notSet names the file, and that nothing of it was set, not even what comes before
// the mistake.
func notSet(file string, e *cluster.Error) error {
	why := e.Message
	if file != "-" && !strings.Contains(why, file) {
		why = file + ": " + why
	}
	if e.Reason != "" {
		why += ": " + e.Reason
	}
	return cluster.Errorf(e.Kind, e.Code, "nothing was set").Because("%s", why).WithHint(cmp.Or(e.Hint, "name a file that is there: paas config import FILE"))
}

// configChange is one line of a diff. Values are never part of it.
type configChange struct {
	Key    string `json:"key"`
	Change string `json:"change"` // "added", "changed", "same", "kept"
}

// diffConfig compares a file with what is set. It has to read the values, which
// the events show; they stay in memory.
func (in *invocation) diffConfig(ctx context.Context, set map[string]cluster.Redacted) error {
	list, err := in.client.Config(ctx, in.app)
	if err != nil {
		return err
	}
	var diff []configChange
	for _, k := range list.Keys {
		value, there := set[k.Key]
		if !there {
			diff = append(diff, configChange{k.Key, "kept"})
			continue
		}
		now, err := in.client.ConfigValue(ctx, in.app, k.Key)
		if err != nil {
			return err
		}
		word := "changed"
		if now.Value == value.Reveal() {
			word = "same"
		}
		diff = append(diff, configChange{k.Key, word})
		delete(set, k.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		diff = append(diff, configChange{key, "added"})
	}
	slices.SortFunc(diff, func(a, b configChange) int { return strings.Compare(a.Key, b.Key) })
	if err := in.print(diff, func(o *output) { printDiff(o, diff) }); err != nil {
		return err
	}
	changes := slices.ContainsFunc(diff, func(c configChange) bool { return c.Change == "added" || c.Change == "changed" })
	if changes && in.Bool("exit-code") {
		return status(exitChanges)
	}
	return nil
}

func printDiff(o *output, diff []configChange) {
	signs := map[string]string{"added": "+", "changed": "~", "same": "=", "kept": " "}
	for _, c := range diff {
		line := signs[c.Change] + " " + c.Key
		switch c.Change {
		case "added":
			line = o.outStyle.green(line)
		case "changed":
			line = o.outStyle.yellow(line)
		default:
			line = o.outStyle.dim(line + "  (" + c.Change + ")")
		}
		o.printf("%s\n", line)
	}
}
