package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/term"

	"paas/api"
	"paas/cluster"
)

// renderer shows news of long work. The last word, good or bad, is the
// command's own: renderers leave it out.
type renderer interface {
	show(api.Progress)
	// close ends the showing; nothing may be shown after it. glyph is how the step
	// that was under way went: good, bad, or busy if it goes on.
	close(glyph)
}

// leaving says what goes on when nobody waits for it any more.
type leaving struct {
	message string // "deployment d-91 continues"
	hint    string // how to see it again
}

// follow runs work and shows its news until it ends, Ctrl-C detaches from it, or
// --timeout is over. work gets a context that ends with the wait.
func (in *invocation) follow(ctx context.Context, leave func() leaving, work func(context.Context, func(api.Progress)) error) error {
	r := in.renderer()
	timeout := in.Duration("timeout")
	waiting, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		waiting, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	var log []string
	err := work(waiting, func(p api.Progress) {
		if p.Kind == api.ProgressFailed {
			log = p.Log
		}
		r.show(p)
	})
	r.close(stepEnd(waiting, err))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && isDone(ctx, err):
		l := leave()
		return interrupted(l.message, l.hint)
	case waiting.Err() != nil && isDone(waiting, err):
		l := leave()
		return timedOut(timeout, l.message, l.hint)
	case len(log) > 0:
		return &withLog{err, log}
	}
	return err
}

// stepEnd is how the step went that was under way when the wait was over.
func stepEnd(waiting context.Context, err error) glyph {
	switch {
	case err == nil:
		return good
	case waiting.Err() != nil && isDone(waiting, err):
		return busy
	}
	return bad
}

// checkWait refuses flags of waiting before anything is done that could be waited for.
func (in *invocation) checkWait() error {
	if t := in.Duration("timeout"); t < 0 {
		return cluster.Invalid("timeout", "--timeout %s is out of range", t).WithHint("wait for some time: --timeout 5m; without the flag the wait ends with the work")
	}
	switch form := in.progressForm(); form {
	case "", "auto", "tty", "plain", "json":
		return nil
	default:
		return cluster.Invalid("progress", "--progress %s is not known", oneLine(form)).WithHint("use: auto, tty, plain or json")
	}
}

// progressForm is --progress, or PAAS_PROGRESS; "" for commands that have neither.
func (in *invocation) progressForm() string {
	form := in.String("progress")
	if env := in.env("PAAS_PROGRESS"); form == "auto" && env != "" {
		return env
	}
	return form
}

// renderer chooses how progress is shown.
func (in *invocation) renderer() renderer {
	o := in.out
	switch in.progressForm() {
	case "tty":
		return newBoard(o.err, o.errStyle, terminalSize(o.err))
	case "plain":
		return plainNews{api.NewPlainNews(o.err)}
	case "json":
		return jsonNews{o}
	}
	if o.quiet {
		return silent{}
	}
	if o.errTTY && in.env("CI") == "" && in.env("TERM") != "dumb" {
		return newBoard(o.err, o.errStyle, terminalSize(o.err))
	}
	return plainNews{api.NewPlainNews(o.err)}
}

// jsonStream reports whether stdout is a stream of news, so that no object may
// follow it.
func (in *invocation) jsonStream() bool {
	return in.String("progress") == "json" || in.String("progress") == "auto" && in.env("PAAS_PROGRESS") == "json"
}

type silent struct{}

func (silent) show(api.Progress) {}
func (silent) close(glyph)       {}

// jsonNews is NDJSON on stdout, the last word included.
type jsonNews struct{ out *output }

func (j jsonNews) show(p api.Progress) {
	_ = j.out.line(p) // a closed pipe ends us by signal
	j.out.told = j.out.told || p.Kind == api.ProgressFailed
}

func (jsonNews) close(glyph) {}

// plainNews appends one line per change.
type plainNews struct{ *api.PlainNews }

func (p plainNews) show(n api.Progress) {
	if n.Kind != api.ProgressDone && n.Kind != api.ProgressFailed {
		p.Show(n)
	}
}

func (p plainNews) close(glyph) { p.Close() }

// terminalSize asks for the size each time: windows change.
func terminalSize(w io.Writer) func() (width, height int) {
	return func() (int, int) {
		if f, ok := w.(*os.File); ok {
			if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
				return width, height
			}
		}
		return 80, 24
	}
}

// watch follows a deployment to its end and says how it went.
func (in *invocation) watch(ctx context.Context, res *api.DeployResult) error {
	return in.follow(ctx, func() leaving { return in.leaveDeployment(res) }, func(ctx context.Context, report func(api.Progress)) error {
		return in.client.WatchDeployment(ctx, in.app, res.Deployment, report)
	})
}

// leaveDeployment is how a deployment is left that goes its way without us.
func (in *invocation) leaveDeployment(res *api.DeployResult) leaving {
	return leaving{"deployment " + string(res.Deployment) + " of " + string(in.app) + " goes on",
		"watch it: paas deployments watch " + string(res.Deployment) + " -a " + string(in.app) +
			"\nend it: paas deployments cancel " + string(res.Deployment) + " -a " + string(in.app)}
}

// finish waits for the deployment that a change made, unless it made none or
// nobody wants to wait, and says what is live then.
func (in *invocation) finish(ctx context.Context, res *api.DeployResult) error {
	began := time.Now()
	if res.Deployment != "" && !in.Bool("detach") {
		if err := in.watch(ctx, res); err != nil {
			return err
		}
	}
	return in.report(res, time.Since(began))
}

// report is the last word of a change that worked.
func (in *invocation) report(res *api.DeployResult, took time.Duration) error {
	switch {
	case in.jsonStream() || res == nil:
		return nil
	case in.out.json:
		return in.out.object(res)
	case res.Deployment == "":
		in.out.done("nothing changed")
	case in.Bool("detach"):
		in.out.done("%s is on its way (deployment %s)", res.Release, res.Deployment)
		in.out.next("paas deployments watch " + string(res.Deployment) + " -a " + string(in.app))
	default:
		in.out.done("%s is live  %s  %s", res.Release, res.URL, in.out.outStyle.dim(short(took)))
	}
	return nil
}

// short shows a duration as precisely as people care.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d < time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// errWaited ends a wait that has seen enough.
var errWaited = errors.New("seen enough")
