package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/moby/buildkit/session"
	"golang.org/x/sync/errgroup"

	"paas/identity"
)

// buildSpec is one build in the engine.
type buildSpec struct {
	dockerfile string              // path in the context
	text       func(Engine) string // writes it, unless it is in the tree
	target     string
	args       map[string]string
	labels     map[string]string
	tag        string // a name that lasts as long as the build
	stages     string // beginning of the names of earlier stages, for the classic builder
	network    string
	covered    string // the cluster's network, where the node's firewall is
	caches     string // name space of cache mounts
	limits     Limits
	parent     string // control group of the classic builder's containers, "" for the engine's own
	context    *tree
	// sent is called once, by another goroutine, when the engine has the whole context.
	sent func()
}

func (s buildSpec) options(id string) build.ImageBuildOptions {
	o := build.ImageBuildOptions{
		BuildID: id, Dockerfile: s.dockerfile, Target: s.target, Labels: s.labels,
		Remove: true, ForceRemove: true, BuildArgs: map[string]*string{}, NetworkMode: s.network,
	}
	if s.tag != "" {
		o.Tags = []string{s.tag}
	}
	for k, v := range s.args {
		o.BuildArgs[k] = &v
	}
	return o
}

// errNoSession means that the engine takes no BuildKit session: nothing was
// built and the classic builder can.
var errNoSession = errors.New("the engine takes no build session")

// buildKit builds with BuildKit through the engine's own API and returns the
// image's ID. Two requests belong together: one carries the context, the other
// runs the build and reports; HTTP/1.1 servers cannot do both at once in one.
func (e *engine) buildKit(ctx context.Context, s buildSpec, out *output) (string, error) {
	sess, err := session.NewSession(ctx, "")
	if err != nil {
		return "", fmt.Errorf("open build session: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	id := identity.NewID()
	var g errgroup.Group
	dialed := make(chan error, 1) // the dialer sends once, or Run ends without dialing
	g.Go(func() error {
		defer close(dialed)
		return sess.Run(ctx, func(ctx context.Context, proto string, meta map[string][]string) (net.Conn, error) {
			conn, err := e.client.DialHijack(ctx, "/session", proto, meta)
			dialed <- err
			return conn, err
		})
	})
	if err := <-dialed; err != nil {
		_ = g.Wait() // the same error once more
		return "", fmt.Errorf("%w: %w", errNoSession, err)
	}
	var uploadErr error
	g.Go(func() error {
		if uploadErr = e.upload(ctx, s, id); uploadErr == nil {
			s.sent()
		}
		return nil
	})
	image, err := e.solve(ctx, s, id, sess.ID(), out)
	cancel()
	_ = sess.Close() // the build is over, one way or the other
	_ = g.Wait()     // Run ends with the connection; its error says nothing more
	if uploadErr != nil && err != nil && !errors.Is(uploadErr, context.Canceled) {
		err = uploadErr // the cause; the build only missed its context
	}
	return image, err
}

// upload sends the context for the build of that ID.
func (e *engine) upload(ctx context.Context, s buildSpec, id string) error {
	r, w := io.Pipe()
	defer r.Close() // ends writeTo when the engine does not read on
	var written error
	done := make(chan struct{})
	go func() {
		defer close(done)
		written = s.context.writeTo(ctx, w)
		_ = w.CloseWithError(written) // never fails
	}()
	resp, err := e.client.ImageBuild(ctx, r, build.ImageBuildOptions{
		Version: build.BuilderBuildKit, BuildID: "upload-request:" + id, RemoteContext: "upload-request",
	})
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		err = errors.Join(err, resp.Body.Close())
	}
	_ = r.Close() // never fails; writeTo must end before its error is read
	<-done
	if written != nil && !errors.Is(written, io.ErrClosedPipe) {
		return written
	}
	return err
}

// solve runs the build and returns the image's ID.
func (e *engine) solve(ctx context.Context, s buildSpec, id, sessionID string, out *output) (string, error) {
	o := s.options(id)
	o.BuildArgs[cacheSpaceArg] = &s.caches
	o.Version, o.SessionID, o.RemoteContext = build.BuilderBuildKit, sessionID, "upload-request"
	if o.NetworkMode == "bridge" {
		o.NetworkMode = "default"
	}
	resp, err := e.client.ImageBuild(ctx, nil, o)
	if err != nil {
		return "", refused("start the build", err)
	}
	defer resp.Body.Close()
	defer e.cancelUnlessDone(ctx, id)
	t := newTrace(out)
	defer t.finish()
	image := ""
	err = readMessages(resp.Body, func(m message) error {
		switch m.ID {
		case "moby.buildkit.trace":
			aux, err := decodeAux(m.Aux)
			if err != nil {
				return err
			}
			return t.decode(aux)
		case "moby.image.id":
			return json.Unmarshal(m.Aux, &struct{ ID *string }{&image})
		}
		return nil
	})
	if err == nil && image == "" {
		err = errors.New("the engine reported no image")
	}
	return image, err
}

// cancelUnlessDone tells the engine to stop a build whose caller went away.
func (e *engine) cancelUnlessDone(ctx context.Context, id string) {
	if ctx.Err() == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = e.client.BuildCancel(ctx, id) // closing the connection does the same; this is for engines that miss it
}
