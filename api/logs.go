package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"paas/cluster"
)

// LogService reads the output of an app's replicas.
type LogService interface {
	// Logs sends lines in time order; with Follow until ctx ends. A gap or a replica
	// that cannot be asked is announced as a line of source "paas". With Follow at most
	// 2,000 lines and 1 MiB a second of each replica are sent, after bursts of five
	// times as much, and no more than the caller reads; what is left out is a gap.
	Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error
}

// LogsRequest chooses lines.
type LogsRequest struct {
	App      cluster.AppName     `json:"app"`
	Type     cluster.ProcessType `json:"type,omitempty"`     // "" means all
	Instance string              `json:"instance,omitempty"` // "web.3"
	Lines    int                 `json:"lines,omitempty"`    // last N of each replica; 0 means 100, -1 none
	Follow   bool                `json:"follow,omitempty"`
	// Allocations is filled by the server for the agents it asks.
	Allocations []cluster.AllocationID `json:"allocations,omitempty"`
}

// LogLine is one line of output, at most 16 KiB of it.
type LogLine struct {
	At       time.Time `json:"at"`
	Instance string    `json:"instance"` // "web.3"
	Source   string    `json:"source"`   // "app" or "paas"
	Stderr   bool      `json:"stderr,omitempty"`
	Text     string    `json:"text"`
}

type logsInput struct {
	App      cluster.AppName     `path:"app" doc:"The app's name"`
	Type     cluster.ProcessType `query:"type" doc:"One process type only"`
	Instance string              `query:"instance" doc:"One replica only: web.3"`
	Lines    int                 `query:"lines" minimum:"-1" maximum:"10000" doc:"The last lines of each replica; 0 means 100, -1 none"`
	Follow   bool                `query:"follow" doc:"Go on until the caller leaves"`
}

func addLogRoutes(t *table, s LogService) {
	stream(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/logs", name: "read-logs", summary: "Read the output of an app's replicas",
		rule: onApp(cluster.ScopeDeploy)}, ndjsonForm, func(ctx context.Context, in *logsInput, w *streamWriter) error {
		return s.Logs(ctx, LogsRequest{App: in.App, Type: in.Type, Instance: in.Instance, Lines: in.Lines, Follow: in.Follow},
			func(l LogLine) error { return w.encode(l) })
	})
}

// Logs implements LogService. The server alone fills in.Allocations.
func (c *Client) Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error {
	q := url.Values{}
	if in.Type != "" {
		q.Set("type", string(in.Type))
	}
	if in.Instance != "" {
		q.Set("instance", in.Instance)
	}
	if in.Lines != 0 {
		q.Set("lines", strconv.Itoa(in.Lines))
	}
	if in.Follow {
		q.Set("follow", "true")
	}
	return ndjson(ctx, c, request{path: appPath(in.App, "logs"), query: q}, send)
}
