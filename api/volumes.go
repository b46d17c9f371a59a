package api

import (
	"context"
	"net/http"
	"net/url"

	"paas/cluster"
)

// VolumeService keeps data of apps on the disks of nodes.
type VolumeService interface {
	// Volumes lists an app's volumes, also when the app is gone; of app "" all that
	// the caller may see.
	Volumes(ctx context.Context, app cluster.AppName) ([]VolumeInfo, error)
	Volume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) (*VolumeInfo, error)
	CreateVolume(ctx context.Context, app cluster.AppName, in CreateVolume) (*VolumeInfo, error)
	// AttachVolume replaces the replica of a process type by one that has the volume.
	AttachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName, in AttachVolume) (*VolumeInfo, error)
	// DetachVolume replaces it by one without; the data stays.
	DetachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) error
	// DestroyVolume ends a volume and its data for good; confirm repeats its name.
	DestroyVolume(ctx context.Context, app cluster.AppName, name, confirm cluster.VolumeName) error
}

// CreateVolume names a volume. Node is the ID or the name of the node for its data;
// "" leaves that to the first replica that has it.
type CreateVolume struct {
	Name cluster.VolumeName `json:"name"`
	Node string             `json:"node,omitempty"`
}

// AttachVolume says who gets a volume, and where it is in the container. Process ""
// is web.
type AttachVolume struct {
	Process cluster.ProcessType `json:"process,omitempty"`
	Path    string              `json:"path"`
}

// VolumeInfo is a volume with where it is and who has it.
type VolumeInfo struct {
	cluster.Volume
	NodeName string `json:"node_name,omitempty"`
	NodeGone bool   `json:"node_gone,omitempty"` // removed from the cluster: its data is out of reach
	NodeDown bool   `json:"node_down,omitempty"`
	UsedBy   string `json:"used_by,omitempty"`  // "web.1"; empty: no replica
	AppGone  bool   `json:"app_gone,omitempty"` // destroyed; its volumes stay
}

type createVolumeInput struct {
	App  cluster.AppName `path:"app" doc:"The app's name"`
	Body CreateVolume
}

type volumeInput struct {
	App  cluster.AppName    `path:"app" doc:"The app's name"`
	Name cluster.VolumeName `path:"volume" doc:"The volume's name"`
}

type attachVolumeInput struct {
	App  cluster.AppName    `path:"app" doc:"The app's name"`
	Name cluster.VolumeName `path:"volume" doc:"The volume's name"`
	Body AttachVolume
}

type destroyVolumeInput struct {
	App     cluster.AppName    `path:"app" doc:"The app's name"`
	Name    cluster.VolumeName `path:"volume" doc:"The volume's name"`
	Confirm cluster.VolumeName `query:"confirm" required:"true" doc:"The volume's name again"`
}

func addVolumeRoutes(t *table, s VolumeService) {
	handle(t, spec{method: http.MethodGet, path: "/v1/volumes", name: "list-all-volumes", summary: "List the volumes that the caller may see",
		rule: filtered(cluster.ScopeRead)}, func(ctx context.Context, _ *noInput) ([]VolumeInfo, error) { return list(s.Volumes(ctx, "")) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/volumes", name: "list-volumes", summary: "List an app's volumes",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *inApp) ([]VolumeInfo, error) { return list(s.Volumes(ctx, in.App)) })
	handle(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/volumes/{volume}", name: "get-volume", summary: "Show a volume",
		rule: onApp(cluster.ScopeRead)}, func(ctx context.Context, in *volumeInput) (*VolumeInfo, error) {
		return s.Volume(ctx, in.App, in.Name)
	})
	handle(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/volumes", name: "create-volume", summary: "Create a volume",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *createVolumeInput) (*VolumeInfo, error) {
		return s.CreateVolume(ctx, in.App, in.Body)
	})
	handle(t, spec{method: http.MethodPost, path: "/v1/apps/{app}/volumes/{volume}/attachment", name: "attach-volume", summary: "Give a volume to a process type",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *attachVolumeInput) (*VolumeInfo, error) {
		return s.AttachVolume(ctx, in.App, in.Name, in.Body)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/apps/{app}/volumes/{volume}/attachment", name: "detach-volume", summary: "Take a volume from its process type",
		rule: onApp(cluster.ScopeDeploy)}, func(ctx context.Context, in *volumeInput) error {
		return s.DetachVolume(ctx, in.App, in.Name)
	})
	perform(t, spec{method: http.MethodDelete, path: "/v1/apps/{app}/volumes/{volume}", name: "destroy-volume", summary: "Destroy a volume and its data",
		rule: onApp(cluster.ScopeAdmin)}, func(ctx context.Context, in *destroyVolumeInput) error {
		return s.DestroyVolume(ctx, in.App, in.Name, in.Confirm)
	})
}

// Volumes implements VolumeService.
func (c *Client) Volumes(ctx context.Context, app cluster.AppName) ([]VolumeInfo, error) {
	if app == "" {
		return call[[]VolumeInfo](ctx, c, request{path: "/v1/volumes"})
	}
	return call[[]VolumeInfo](ctx, c, request{path: appPath(app, "volumes")})
}

// Volume implements VolumeService.
func (c *Client) Volume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) (*VolumeInfo, error) {
	return call[*VolumeInfo](ctx, c, request{path: appPath(app, "volumes", string(name))})
}

// CreateVolume implements VolumeService.
func (c *Client) CreateVolume(ctx context.Context, app cluster.AppName, in CreateVolume) (*VolumeInfo, error) {
	return call[*VolumeInfo](ctx, c, request{method: http.MethodPost, path: appPath(app, "volumes"), in: in})
}

// AttachVolume implements VolumeService.
func (c *Client) AttachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName, in AttachVolume) (*VolumeInfo, error) {
	return call[*VolumeInfo](ctx, c, request{method: http.MethodPost, path: appPath(app, "volumes", string(name), "attachment"), in: in})
}

// DetachVolume implements VolumeService.
func (c *Client) DetachVolume(ctx context.Context, app cluster.AppName, name cluster.VolumeName) error {
	return c.send(ctx, request{method: http.MethodDelete, path: appPath(app, "volumes", string(name), "attachment")})
}

// DestroyVolume implements VolumeService.
func (c *Client) DestroyVolume(ctx context.Context, app cluster.AppName, name, confirm cluster.VolumeName) error {
	return c.send(ctx, request{method: http.MethodDelete, path: appPath(app, "volumes", string(name)), query: url.Values{"confirm": {string(confirm)}}})
}
