package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"paas/cluster"
)

// DeployService turns source or an image into a running release. A deployment is
// always named together with its app, so that the caller's right can be checked;
// another app's deployment is KindNotFound. A Client passes the last word (done or
// failed, with the error that is also returned) to report like everything else; a
// service may report one to give it details, and need not.
type DeployService interface {
	// DeploySource builds a gzipped tar of a source tree and rolls it out. Deploys
	// of one app run one after the other; the wait is reported. It returns when the
	// release serves, or with KindBuildFailed, KindRolloutFailed or KindUnplaceable
	// after everything was reverted.
	DeploySource(ctx context.Context, app cluster.AppName, in DeploySource, report func(Progress)) (*DeployResult, error)
	// DeployImage does the same with a prebuilt image.
	DeployImage(ctx context.Context, app cluster.AppName, in DeployImage, report func(Progress)) (*DeployResult, error)
	// WatchDeployment reports progress until the deployment ends; its error is the deployment's.
	WatchDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID, report func(Progress)) error
	// Deployments lists newest first.
	Deployments(ctx context.Context, app cluster.AppName) ([]cluster.Deployment, error)
	CancelDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID) error
}

// DeploySource is a deploy of a source tree.
type DeploySource struct {
	Archive     io.Reader `json:"-"` // tar, gzipped
	Commit      string    `json:"commit,omitempty"`
	Description string    `json:"description,omitempty"`
}

// DeployImage is a deploy of a prebuilt image that the engine has or can pull.
type DeployImage struct {
	Image string `json:"image"`
}

// DeployResult names what a change made; zero fields were not made.
type DeployResult struct {
	App        cluster.AppName        `json:"app"`
	Build      cluster.BuildID        `json:"build,omitempty"`
	Release    cluster.ReleaseVersion `json:"release,omitempty"`
	Deployment cluster.DeploymentID   `json:"deployment,omitempty"`
	URL        string                 `json:"url,omitempty"`
}

// ProgressKind says how a Progress is to be shown.
type ProgressKind string

const (
	ProgressStep     ProgressKind = "step"     // a phase begins: "-----> Building …"
	ProgressLine     ProgressKind = "line"     // detail under the step: build output
	ProgressInstance ProgressKind = "instance" // a replica changed
	ProgressWarning  ProgressKind = "warning"  // something a person should know
	ProgressDone     ProgressKind = "done"     // last: it worked
	ProgressFailed   ProgressKind = "failed"   // last: Error says why
)

// Progress is one piece of news about long work. One model, three renderers:
// repainted terminal, plain lines (git, CI), NDJSON.
type Progress struct {
	At       time.Time        `json:"at"`
	Kind     ProgressKind     `json:"kind"`
	Text     string           `json:"text,omitempty"` // without a trailing newline
	Instance *InstanceNews    `json:"instance,omitempty"`
	Result   *DeployResult    `json:"result,omitempty"`
	Error    *cluster.Error   `json:"error,omitempty"`
	Log      []string         `json:"log,omitempty"` // last lines of the replica that failed
	Took     time.Duration    `json:"took_ns,omitempty"`
	Phase    map[string]int64 `json:"phase_ms,omitempty"` // on done: milliseconds by phase
}

// InstanceNews is one replica's change.
type InstanceNews struct {
	Name     string                  `json:"name"` // "web.3"
	Node     string                  `json:"node"`
	Zone     string                  `json:"zone"`
	Release  cluster.ReleaseVersion  `json:"release"`
	State    cluster.AllocationState `json:"state"`
	Desired  cluster.DesiredState    `json:"desired"`
	Reason   string                  `json:"reason,omitempty"`
	ExitCode int                     `json:"exit_code,omitempty"`
}

// Word is the replica's state as people read it: what it was told to do counts
// before what it still does.
func (n InstanceNews) Word() string {
	switch {
	case n.Desired == cluster.DesiredStop && !n.State.Terminal():
		return "stopping"
	case n.Desired == cluster.DesiredDrain && n.State == cluster.AllocationHealthy:
		return "draining"
	}
	return n.State.String()
}

type deploymentInput struct {
	App cluster.AppName      `path:"app" doc:"The app's name"`
	ID  cluster.DeploymentID `path:"id" doc:"The deployment's ID"`
}

func addDeployRoutes(t *table, s DeployService) {
	raw(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/deploys", name: "deploy",
		summary: "Deploy a source tree (gzipped tar) or a prebuilt image (JSON: DeployImage)",
		accepts: []string{gzipType, jsonType}, unlimited: true, describe: describeDeploy, rule: onApp(cluster.ScopeDeploy)},
		map[string]*huma.Response{"200": {Description: ndjsonForm.describe, Content: map[string]*huma.MediaType{ndjsonForm.mediaType: {}}}},
		func(c echo.Context) error { return serveDeploy(c, s) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/deployments", name: "list-deployments", summary: "List deployments, newest first",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) ([]cluster.Deployment, error) {
		return list(s.Deployments(ctx, in.App))
	})
	// Progress quotes the output of replicas that failed, so reading is not enough.
	stream(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/deployments/{id}/watch", name: "watch-deployment", summary: "Follow a deployment to its end",
		rule: onApp(cluster.ScopeDeploy)}, ndjsonForm, func(ctx context.Context, in *deploymentInput, w *streamWriter) error {
		return progress(ctx, w, func(report func(Progress)) (*DeployResult, error) {
			return nil, s.WatchDeployment(ctx, in.App, in.ID, report)
		})
	})
	perform(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/deployments/{id}/cancel", name: "cancel-deployment", summary: "Cancel a deployment: everything goes back",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *deploymentInput) error {
		return s.CancelDeployment(ctx, in.App, in.ID)
	})
}

const (
	gzipType = "application/gzip"

	commitHeader      = "Paas-Commit"
	descriptionHeader = "Paas-Description"
)

// describeDeploy tells what the two kinds of deploy may hold.
func describeDeploy(op *huma.Operation, registry huma.Registry) {
	text := &huma.Schema{Type: huma.TypeString}
	op.Parameters = append(op.Parameters,
		&huma.Param{Name: commitHeader, In: "header", Description: "The commit that the tree is of, if it is of one", Schema: text},
		&huma.Param{Name: descriptionHeader, In: "header", Description: "What the release is about, URL-encoded", Schema: text})
	op.RequestBody.Content[jsonType].Schema = registry.Schema(reflect.TypeFor[DeployImage](), true, "DeployImage")
}

// serveDeploy tells the two kinds of deploy apart by their media type. The
// commit and the description of a source tree travel as headers.
func serveDeploy(c echo.Context, s DeployService) error {
	r := c.Request()
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType == jsonType {
		r.Body = http.MaxBytesReader(c.Response(), r.Body, maxJSONBody)
		in, err := imageOf(r.Body)
		if err != nil {
			return err
		}
		return serveStream(c, ndjsonForm, func(ctx context.Context, w *streamWriter) error {
			return progress(ctx, w, func(report func(Progress)) (*DeployResult, error) {
				return s.DeployImage(ctx, appOf(c), in, report)
			})
		})
	}
	description, err := url.QueryUnescape(r.Header.Get(descriptionHeader))
	if err != nil {
		return cluster.Invalid("description", "the description is not valid").Because("it must be URL-encoded")
	}
	if r.ProtoMajor == 1 {
		// What a refusal leaves unread of the archive would be taken for the next request.
		c.Response().Header().Set("Connection", "close")
	}
	if r.ProtoAtLeast(1, 1) {
		// The client waits for leave to upload, which a first report would withhold.
		c.Response().Writer.WriteHeader(http.StatusContinue)
	}
	in := DeploySource{Archive: r.Body, Commit: r.Header.Get(commitHeader), Description: description}
	return serveStream(c, ndjsonForm, func(ctx context.Context, w *streamWriter) error {
		return progress(ctx, w, func(report func(Progress)) (*DeployResult, error) {
			return s.DeploySource(ctx, appOf(c), in, report)
		})
	})
}

// imageOf reads the body of a deploy of an image: one JSON value and no more.
func imageOf(body io.Reader) (DeployImage, error) {
	var in DeployImage
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(&in)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one value")
		}
	}
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return in, err
	case err != nil, in.Image == "":
		return in, cluster.Invalid("image", "the request is not valid").Because(`the body has the form {"image": "REFERENCE"}`).Wrap(err)
	}
	return in, nil
}

// DeploySource implements DeployService.
func (c *Client) DeploySource(ctx context.Context, app cluster.AppName, in DeploySource, report func(Progress)) (*DeployResult, error) {
	h := http.Header{}
	if in.Commit != "" {
		h.Set(commitHeader, in.Commit)
	}
	if in.Description != "" {
		h.Set(descriptionHeader, url.QueryEscape(in.Description))
	}
	return c.progress(ctx, request{method: http.MethodPost, path: appPath(app, "deploys"),
		upload: in.Archive, media: gzipType, header: h}, report)
}

// DeployImage implements DeployService.
func (c *Client) DeployImage(ctx context.Context, app cluster.AppName, in DeployImage, report func(Progress)) (*DeployResult, error) {
	return c.progress(ctx, request{method: http.MethodPost, path: appPath(app, "deploys"), in: in}, report)
}

// WatchDeployment implements DeployService.
func (c *Client) WatchDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID, report func(Progress)) error {
	_, err := c.progress(ctx, request{path: appPath(app, "deployments", string(id), "watch")}, report)
	return err
}

// Deployments implements DeployService.
func (c *Client) Deployments(ctx context.Context, app cluster.AppName) ([]cluster.Deployment, error) {
	return call[[]cluster.Deployment](ctx, c, request{path: appPath(app, "deployments")})
}

// CancelDeployment implements DeployService.
func (c *Client) CancelDeployment(ctx context.Context, app cluster.AppName, id cluster.DeploymentID) error {
	return c.send(ctx, request{method: http.MethodPost, path: appPath(app, "deployments", string(id), "cancel")})
}
