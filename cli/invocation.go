package cli

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

// invocation is one command being run: its flags, its arguments, and what it
// was found to be about.
type invocation struct {
	*program
	*cli.Context
	verb *verb
	args []string

	target *target     // set when the verb needs a server
	client *api.Client // likewise
	app    cluster.AppName
	source string // where app comes from: "--app", "git remote \"paas\""
	old    error  // why what was shown is what one server knew last; nil: it is not
}

// arg returns an argument, "" if it was not given.
func (in *invocation) arg(n int) string {
	if n < len(in.args) {
		return in.args[n]
	}
	return ""
}

// prepare finds the context and the app that the verb needs.
func (in *invocation) prepare(ctx context.Context) error {
	if in.verb.needs < needsServer {
		return nil
	}
	var err error
	if in.target, err = in.findTarget(); err != nil {
		return err
	}
	if !in.verb.changes && !in.out.json { // scripts and changes go by what is so
		in.target.lastKnown = func(why error) { in.old = why }
	}
	if in.client, err = in.target.client(); err != nil {
		return err
	}
	if in.verb.needs < needsApp {
		return nil
	}
	if err := in.findApp(ctx); err != nil {
		return err
	}
	if in.verb.changes {
		in.header()
	}
	return nil
}

// header names what was inferred, before anything is changed.
func (in *invocation) header() {
	text := "context " + in.target.label()
	if in.app != "" {
		text = "app " + string(in.app) + " (" + in.source + ") · " + text
	}
	in.out.notef("%s\n", in.out.errStyle.dim(text))
}

// findTarget chooses the cluster: --context, then PAAS_SERVER, then
// PAAS_CONTEXT, then the current context. PAAS_TOKEN and PAAS_CA_FILE replace
// what the context holds.
func (in *invocation) findTarget() (*target, error) {
	var t *target
	name := in.String("context")
	if server := in.env("PAAS_SERVER"); server != "" && name == "" {
		t = &target{server: server}
	} else {
		if name == "" {
			name = in.env("PAAS_CONTEXT")
		}
		files, err := home(in.env)
		if err != nil {
			return nil, err
		}
		if t, err = files.lookup(name); err != nil {
			return nil, err
		}
	}
	if token := in.env("PAAS_TOKEN"); token != "" {
		t.token = cluster.Redacted(token)
	}
	if file := in.env("PAAS_CA_FILE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, cluster.Invalid("ca_file", "PAAS_CA_FILE cannot be read").Because("%v", err)
		}
		t.caFile, t.ca = file, string(pem)
	}
	return t, nil
}

// client connects to t, trusting only its own authority if it has one.
func (t *target) client() (*api.Client, error) {
	if t.ca == "" {
		return api.NewClient(api.ClientConfig{URL: t.server, LastKnown: t.lastKnown, Token: t.token, Version: version})
	}
	return api.NewClient(api.ClientConfig{URL: t.server, Others: t.others, Learned: t.learned, LastKnown: t.lastKnown, Token: t.token,
		TLS: identity.PinnedConfig(t.ca), Version: version})
}

// aged is the error of a command that showed what one server knew last.
func (in *invocation) aged() error {
	if in.old == nil {
		return nil
	}
	return asError(in.old).Because("what is shown is what one server knew last; a majority of the servers has to be up")
}

// explain adds what only this side knows: the command that starts a server that
// nobody reaches, if it is one that "paas up" ran on this host, and that an app may
// be on another cluster.
func (in *invocation) explain(t *target, err error) error {
	var e *cluster.Error
	switch {
	case t == nil || !errors.As(err, &e):
		return err
	case e.Code == "unreachable" && t.data != "":
		return e.WithHint("is the server running? start it with: paas up --detach" + dataFlag(in, t.data))
	case e.Kind == cluster.KindUnauthenticated && strings.HasSuffix(e.Hint, ": paas login"):
		return e.WithHint(in.loginHint(t))
	case e.Code == "tls_pin":
		return e.WithHint("if it was set up anew, log in again: paas login " + t.server + " --ca-fingerprint sha256:… --token TOKEN\nboth are on the server's console")
	case e.Code == "app" && e.Kind == cluster.KindNotFound && t.name != "":
		if others := in.otherContexts(t.name); others != "" {
			return e.WithHint(e.Hint + "\nthis is context " + t.name + "; the others are " + others + ": paas apps -c NAME")
		}
	}
	return err
}

// loginHint is how to get a token that t takes.
func (in *invocation) loginHint(t *target) string {
	switch {
	case in.env("PAAS_TOKEN") != "":
		return "it is that of PAAS_TOKEN; to use the context's own: unset PAAS_TOKEN"
	case t.data != "":
		return "log in to this host's own cluster again: paas up --detach" + dataFlag(in, t.data)
	}
	line := "paas login " + shellWord(t.server)
	if fingerprint, err := fingerprintOf(t.ca); err == nil {
		line += " --ca-fingerprint " + fingerprint
	}
	if t.name != "" {
		line += " --name " + t.name
	}
	return "log in with a new token: " + line + " --token TOKEN\nan admin makes one: paas token create NAME"
}

// otherContexts lists the contexts beside name, "" if there are none.
func (in *invocation) otherContexts(name string) string {
	files, err := home(in.env)
	if err != nil {
		return ""
	}
	f, err := files.contexts()
	if err != nil {
		return ""
	}
	delete(f.Context, name)
	return strings.Join(sortedKeys(f.Context), ", ")
}

// print shows what a command found: the API's object with --json, else as show
// writes it.
func (in *invocation) print(v any, show func(o *output)) error {
	if in.out.json {
		return in.out.object(v)
	}
	show(in.out)
	return nil
}
