package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"paas/cluster"
)

// ProcessService shows and changes what runs.
type ProcessService interface {
	// Processes lists the app's allocations and the quantities wanted.
	Processes(ctx context.Context, app cluster.AppName) (*ProcessList, error)
	// Scale changes quantities. It is refused with KindUnplaceable, and changes
	// nothing, when the replicas would not fit.
	Scale(ctx context.Context, app cluster.AppName, in Scale) (*ProcessList, error)
	Restart(ctx context.Context, app cluster.AppName, in Restart) error
	// Settle reports progress until what runs of the given types is what is wanted,
	// or ctx ends; no types means all.
	Settle(ctx context.Context, app cluster.AppName, types []cluster.ProcessType, report func(Progress)) error
}

// ProcessList is what runs and what should.
type ProcessList struct {
	App         cluster.AppName                     `json:"app"`
	Release     cluster.ReleaseVersion              `json:"release"`
	Formation   map[cluster.ProcessType]int         `json:"formation"`
	Processes   map[cluster.ProcessType]ProcessInfo `json:"processes"`
	Allocations []AllocationInfo                    `json:"allocations"`
	// Unplaced are the replicas that should be started and fit nowhere, and why.
	Unplaced []cluster.Unplaced `json:"unplaced,omitempty"`
	Index    uint64             `json:"index"`
}

// ProcessInfo is a process type of the current release.
type ProcessInfo struct {
	cluster.Process
	Quantity int `json:"quantity"`
}

// AllocationInfo is an allocation with its node's name.
type AllocationInfo struct {
	cluster.Allocation
	Instance string `json:"instance"`
	NodeName string `json:"node_name"`
	Zone     string `json:"zone"`
	// SilentSince is zero unless the replica takes requests and answers none, not even
	// a router's ping: since when. Routers ask it only when there is no other; nobody ends it.
	SilentSince time.Time `json:"silent_since,omitzero"`
}

// Scale changes the quantities of process types.
type Scale struct {
	Changes []ScaleChange `json:"changes"`
}

// Types are the process types that it changes, sorted.
func (s Scale) Types() []cluster.ProcessType {
	var types []cluster.ProcessType
	for _, c := range s.Changes {
		types = append(types, c.Type)
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// ScaleChange sets (Relative false) or adds to a quantity.
type ScaleChange struct {
	Type     cluster.ProcessType `json:"type"`
	Quantity int                 `json:"quantity"`
	Relative bool                `json:"relative,omitempty"`
}

// Restart replaces replicas one surge at a time; no types means all.
type Restart struct {
	Types []cluster.ProcessType `json:"types,omitempty"`
}

type scaleInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body Scale
}

type restartInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body Restart
}

type settleInput struct {
	App   cluster.AppName       `path:"app" doc:"The app's name"`
	Types []cluster.ProcessType `query:"type,explode" maxItems:"100" doc:"Process types to wait for; all if none is given"`
}

func addProcessRoutes(t *table, s ProcessService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/processes", name: "list-processes", summary: "Show what runs and what should",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) (*ProcessList, error) { return s.Processes(ctx, in.App) })
	handle(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/scale", name: "scale", summary: "Change the quantities of process types",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *scaleInput) (*ProcessList, error) {
		return s.Scale(ctx, in.App, in.Body)
	})
	perform(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/restart", name: "restart", summary: "Replace replicas, one surge at a time",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *restartInput) error { return s.Restart(ctx, in.App, in.Body) })
	// Progress quotes the output of replicas that failed, so reading is not enough.
	stream(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/settle", name: "settle", summary: "Follow until what runs is what is wanted",
		rule: onApp(cluster.ScopeDeploy)}, ndjsonForm, func(ctx context.Context, in *settleInput, w *streamWriter) error {
		return progress(ctx, w, func(report func(Progress)) (*DeployResult, error) {
			return nil, s.Settle(ctx, in.App, in.Types, report)
		})
	})
}

// Processes implements ProcessService.
func (c *Client) Processes(ctx context.Context, app cluster.AppName) (*ProcessList, error) {
	return call[*ProcessList](ctx, c, request{path: appPath(app, "processes")})
}

// Scale implements ProcessService.
func (c *Client) Scale(ctx context.Context, app cluster.AppName, in Scale) (*ProcessList, error) {
	return call[*ProcessList](ctx, c, request{method: http.MethodPost, path: appPath(app, "scale"), in: in})
}

// Restart implements ProcessService.
func (c *Client) Restart(ctx context.Context, app cluster.AppName, in Restart) error {
	return c.send(ctx, request{method: http.MethodPost, path: appPath(app, "restart"), in: in})
}

// Settle implements ProcessService.
func (c *Client) Settle(ctx context.Context, app cluster.AppName, types []cluster.ProcessType, report func(Progress)) error {
	q := url.Values{}
	for _, t := range types {
		q.Add("type", string(t))
	}
	_, err := c.progress(ctx, request{path: appPath(app, "settle"), query: q}, report)
	return err
}
