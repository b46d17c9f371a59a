package server

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
	// maxFetchRequest bounds what a fetch may ask: it is a list of hashes.
	maxFetchRequest = 64 << 20
	// maxRest and maxRestTime bound what is read of a request that git is done with:
	// as much again as may be pushed.
	maxRest     = 2 << 30
	maxRestTime = 2 * time.Minute
)

// protocolRE is what git says of protocol versions; it goes into an environment.
var protocolRE = regexp.MustCompile(`^[a-z0-9=:._-]{1,64}$`)

// ServeHTTP serves git's smart HTTP protocol at /git/{app}.git/…. The API has
// authorised the request; the children get the repository's path from here alone.
func (g *gitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, action, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, gitPrefix), ".git/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	repo, app, err := g.open(r.Context(), cluster.AppName(name))
	if err != nil {
		g.refuse(w, err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	switch {
	case action == "info/refs" && r.Method == http.MethodGet:
		g.advertise(w, r, repo)
	case action == uploadPack && r.Method == http.MethodPost:
		g.fetch(w, r, repo)
	case action == receivePack && r.Method == http.MethodPost:
		g.receive(w, r, app, repo)
	default:
		http.NotFound(w, r)
	}
}

// open returns the repository of an app that is not being destroyed.
func (g *gitServer) open(ctx context.Context, name cluster.AppName) (string, *cluster.App, error) {
	_, app, err := g.app(ctx, name)
	if cluster.KindOf(err) == cluster.KindNotFound {
		var e *cluster.Error
		errors.As(err, &e)
		return "", nil, e.WithHint("make it with: paas apps create " + string(name))
	}
	if err != nil {
		return "", nil, err
	}
	repo, err := g.repository(ctx, app)
	if err != nil {
		return "", nil, err
	}
	return repo, app, g.current(ctx, app, repo)
}

// current makes sure that a repository is what was acknowledged, before it is served.
func (g *gitServer) current(ctx context.Context, app *cluster.App, repo string) error {
	var err error
	if g.store.State().Repository(app.Name) == nil {
		err = g.adopt(ctx, app, repo)
	} else {
		err = g.copies.align(ctx, app.Name)
	}
	var e *cluster.Error
	if err == nil || errors.As(err, &e) || ctx.Err() != nil {
		return err
	}
	g.log.Warn("a repository cannot be served yet", "app", string(app.Name), "err", err)
	return cluster.Errorf(cluster.KindUnavailable, "git_behind", "the git history of %s is not complete on this server", app.Name).
		Because("the servers that have the rest do not answer").WithHint("see which servers run with: paas nodes; then try again").Wrap(err)
}

// refuse answers in plain text, which git shows to its user line by line.
func (g *gitServer) refuse(w http.ResponseWriter, err error) {
	var e *cluster.Error
	if !errors.As(err, &e) || e.Kind == cluster.KindInternal {
		g.log.Error("git request met an internal error", "err", err)
		e = cluster.Errorf(cluster.KindInternal, "internal", "internal error: the server's log says more")
	}
	tellGit(w, e)
}

// gitPrefix begins the paths of repositories: /git/APP.git/…
const gitPrefix = "/git/"

// tellGit is an answer that git shows.
func tellGit(w http.ResponseWriter, e *cluster.Error) {
	var text bytes.Buffer
	api.RenderPlain(&text, api.Progress{Kind: api.ProgressFailed, Error: e})
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(api.StatusOf(e.Kind))
	_, _ = w.Write(text.Bytes()) // the client is gone: nothing to do about it
}

// advertise lists refs.
func (g *gitServer) advertise(w http.ResponseWriter, r *http.Request, repo string) {
	service := r.URL.Query().Get("service")
	if service != uploadPack && service != receivePack {
		http.NotFound(w, r)
		return
	}
	if service == receivePack { // before anything is sent
		if err := g.deployer.room(); err != nil {
			g.refuse(w, err)
			return
		}
	}
	env := protocol(r)
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	ctx, cancel := context.WithCancel(r.Context())
	out := answerTo(w, cancel, nothing)
	if service != uploadPack || !strings.Contains(strings.Join(env, ""), "version=2") {
		line := "# service=" + service + "\n"
		_, _ = fmt.Fprintf(out, "%04x%s0000", len(line)+4, line) // never fails
	}
	defer cancel()
	g.serve(ctx, out, nil, g.command(ctx, env, strings.TrimPrefix(service, "git-"), "--stateless-rpc", "--http-backend-info-refs", repo))
}

// fetch sends objects.
func (g *gitServer) fetch(w http.ResponseWriter, r *http.Request, repo string) {
	body, err := plainBody(r)
	if err != nil {
		g.refuse(w, err)
		return
	}
	defer readRest(w, r)
	w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	g.serve(ctx, answerTo(w, cancel, nothing), io.LimitReader(body, maxFetchRequest),
		g.command(ctx, protocol(r), "upload-pack", "--stateless-rpc", repo))
}

// receive takes a push. Its hook finds its way back to this request by the secret
// name that is in the child's environment.
func (g *gitServer) receive(w http.ResponseWriter, r *http.Request, app *cluster.App, repo string) {
	if err := g.deployer.room(); err != nil {
		g.refuse(w, err)
		return
	}
	body, err := plainBody(r)
	if err != nil {
		g.refuse(w, err)
		return
	}
	defer readRest(w, r)
	tenure, _ := g.tenure.now()
	if tenure == nil {
		g.refuse(w, errNotLeading)
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	defer context.AfterFunc(tenure, cancel)() // what comes of it is the next leader's to say
	p := &push{actor: api.ActorFrom(ctx), app: app.Name, repo: repo, gone: ctx.Done(), cancel: cancel}
	defer context.AfterFunc(r.Context(), p.hangUp)()
	secret := g.expect(p)
	defer g.leave(ctx, secret, p)
	w.Header().Set("Content-Type", "application/x-git-receive-pack-result")
	env := append(protocol(r), envSocket+"="+g.hook, envPush+"="+secret)
	out := answerTo(w, p.hangUp, func() error {
		err := g.acknowledge(ctx, app, p)
		if err != nil {
			g.log.Warn("push not acknowledged", "app", string(p.app), "err", err)
		}
		return err
	})
	g.serve(ctx, out, body, g.command(ctx, env, "receive-pack", "--stateless-rpc", repo))
}

// readRest takes what a client still sends when git is done with the request, with a
// push because of its size for one: the answer to somebody who is cut off while they
// send does not arrive.
func readRest(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxRestTime)) // transports without deadlines end with the bytes
	_, _ = io.CopyN(io.Discard, r.Body, maxRest)                                   // its end, whichever it is
}

// serve connects a child with a request. The child ends with ctx. An answer that cannot be whole is cut off:
// after one that only ends too early git waits for ever for the rest.
func (g *gitServer) serve(ctx context.Context, out *flushWriter, body io.Reader, cmd *exec.Cmd) {
	// HTTP/2 is always full duplex and says that it cannot be enabled.
	_ = out.rc.EnableFullDuplex()
	_ = out.rc.SetReadDeadline(time.Time{}) // transports without deadlines need none lifted
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = body, out, &stderr
	err := runGit(ctx, cmd)
	if err != nil && ctx.Err() == nil {
		// What the user must know, git itself has said; this is for the operator.
		g.log.Debug("git child ended", "err", err, "stderr", plain(stderr.String()))
	}
	switch {
	case err == nil && !out.mute:
	case out.said || out.mute:
		panic(http.ErrAbortHandler)
	default:
		reason, _, _ := strings.Cut(strings.TrimPrefix(stderr.String(), "fatal: "), "\n")
		g.refuse(out.w, cluster.Invalid("git", "git did not take the request").Because("%.300s", plain(reason)))
	}
}

// nothing is what has to be settled before the answer to somebody who reads.
func nothing() error { return nil }

// flushWriter sends every piece at once. What cannot be sent is dropped: an error
// here would kill a child that may have to go on.
type flushWriter struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	gone func() // called when somebody hung up
	// settle makes true what the next piece may promise; if it cannot, nothing more
	// is sent.
	settle     func() error
	said, mute bool
}

// answerTo is the way of a child's output to a client; settle comes before each
// piece, gone when somebody hung up.
func answerTo(w http.ResponseWriter, gone func(), settle func() error) *flushWriter {
	return &flushWriter{w: w, rc: http.NewResponseController(w), gone: gone, settle: settle}
}

func (f *flushWriter) Write(p []byte) (int, error) {
	if f.mute {
		return len(p), nil
	}
	err := f.settle()
	if err == nil {
		f.said = true
		_, err = f.w.Write(p)
	}
	if err == nil {
		err = f.rc.Flush()
	}
	if err != nil {
		f.mute = true
		f.gone()
	}
	return len(p), nil
}

// protocol passes git's wish for a protocol version on, if it is one.
func protocol(r *http.Request) []string {
	if v := r.Header.Get("Git-Protocol"); protocolRE.MatchString(v) {
		return []string{"GIT_PROTOCOL=" + v}
	}
	return nil
}

// plainBody undoes the compression that git uses for large requests.
func plainBody(r *http.Request) (io.Reader, error) {
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
		return r.Body, nil
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return nil, cluster.Invalid("body", "the request's body is not gzip").Wrap(err)
		}
		return z, nil
	}
	return nil, cluster.Invalid("content_encoding", "the request's encoding is not known").Because("gzip or none")
}
