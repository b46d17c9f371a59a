package cli

import (
	"cmp"
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func tokenVerb() *verb {
	return &verb{name: "token", aliases: []string{"tokens"}, group: groupOperate, summary: "credentials for people and machines", needs: needsServer, run: listTokens,
		examples: []string{"paas token create --name ci --scope deploy --app blog", "paas token revoke 0123456789ab"},
		verbs: []*verb{
			{name: "create", summary: "create a token; it is shown once", args: "[NAME]", takes: upToOne, needs: needsServer, run: createToken,
				flags: []cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "`NAME` that events show, instead of the argument"},
					&cli.StringFlag{Name: "scope", Usage: "`SCOPE`: read, deploy or admin", Value: "deploy"},
					&cli.StringSliceFlag{Name: "app", Aliases: []string{"a"}, Usage: "only this `APP`; may be repeated"},
					&cli.StringFlag{Name: "ttl", Usage: "how `LONG` it is good, at most 366d", Value: "90d"},
				},
				about:    "NAME is who uses it, as events show it. The token alone goes to stdout, so that it can be piped.",
				examples: []string{"paas token create ci --app blog", "paas token create --name pager --scope read --ttl 30d"}},
			{name: "list", aliases: []string{"ls"}, summary: "list tokens, without their text", needs: needsServer, examples: []string{"paas token list"}, run: listTokens},
			{name: "revoke", aliases: []string{"rm"}, summary: "revoke a token at once", args: "ID", takes: one, needs: needsServer,
				examples: []string{"paas token revoke 0123456789ab"}, run: revokeToken},
		}}
}

func createToken(ctx context.Context, in *invocation) error {
	ttl, err := parseDays(in.String("ttl"))
	if err != nil {
		return err
	}
	t := api.CreateToken{Name: cmp.Or(in.arg(0), in.String("name")), TTL: ttl}
	if flag := in.String("name"); flag != "" && flag != t.Name {
		return cluster.Invalid("token_name", "no token is made").Because("two names are given: %s and %s", oneLine(t.Name), oneLine(flag)).
			WithHint("give one of them: paas token create NAME")
	}
	if err := t.Scope.UnmarshalText([]byte(in.String("scope"))); err != nil || t.Scope == cluster.ScopeNone {
		return cluster.Invalid("scope", "scope %q is not known", in.String("scope")).WithHint("use: read, deploy or admin")
	}
	if t.Name == "" && !in.IsSet("scope") {
		return cluster.Invalid("token_name", "no token is made").Because("it has neither a name nor a scope; without both it would be one to deploy every app with, for 90 days").
			WithHint("name who uses it: paas token create ci --app APP")
	}
	if t.Name == "" {
		t.Name = tokenName(in.env)
	}
	for _, a := range in.StringSlice("app") {
		t.Apps = append(t.Apps, cluster.AppName(a))
	}
	in.header()
	made, err := in.client.CreateToken(ctx, t)
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(made)
	}
	in.out.notef("Token %s (%s, %s) is good until %s. It is shown only now:\n", made.ID, made.Name, made.Scope, made.ExpiresAt.Local().Format(time.DateTime))
	_, err = io.WriteString(in.out.out, made.Text+"\n")
	return err
}

// parseDays reads a duration that may be in days, which are what people count
// such times in: "90d", "36h", "1d12h".
func parseDays(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := strconv.ParseUint(days, 10, 16)
	var d time.Duration
	if err == nil && rest != "" {
		d, err = time.ParseDuration(rest)
	}
	if err != nil || d < 0 || n == 0 && d == 0 {
		return 0, cluster.Invalid("ttl", "--ttl %s is not a time", oneLine(s)).WithHint("write it as 90d, 36h or 1d12h")
	}
	return time.Duration(n)*24*time.Hour + d, nil
}

// tokenName is who and where, for the events.
func tokenName(env func(string) string) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "somewhere"
	}
	if user := env("USER"); user != "" {
		return user + "@" + host
	}
	return host
}

func listTokens(ctx context.Context, in *invocation) error {
	list, err := in.client.Tokens(ctx)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, t := range list {
			apps, until := "all", "never ends"
			if len(t.Apps) > 0 {
				apps = joined(t.Apps)
			}
			if !t.ExpiresAt.IsZero() {
				until = t.ExpiresAt.Local().Format(time.DateOnly)
			}
			scope := t.Scope.String()
			if t.Once {
				scope += " (one login)"
			}
			rows = append(rows, []string{string(t.ID), t.Name, scope, apps, until, t.CreatedBy})
		}
		o.table([]string{"ID", "NAME", "SCOPE", "APPS", "UNTIL", "BY"}, rows)
	})
}

func revokeToken(ctx context.Context, in *invocation) error {
	id := cluster.TokenID(in.arg(0))
	in.header()
	if err := in.client.RevokeToken(ctx, id); err != nil {
		return err
	}
	return in.print(struct {
		ID cluster.TokenID `json:"id"`
	}{id}, func(o *output) { o.done("token %s is good for nothing any more", id) })
}
