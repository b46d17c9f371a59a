package builder

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"paas/cluster"
)

// The labels of everything that the product makes in the engine.
const (
	labelCluster = "paas.cluster"
	labelApp     = "paas.app"
)

// engine is the host's Docker Engine, seen from here. This file, buildkit.go and
// classic.go are all that talks to it.
type engine struct{ client *client.Client }

func newEngine() (*engine, error) {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("set up engine client: %w", err)
	}
	return &engine{client: c}, nil
}

// unreachable is an error of the engine, not of the source.
func unreachable(what string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if client.IsErrConnectionFailed(err) {
		return cluster.Errorf(cluster.KindUnavailable, "engine", "cannot %s", what).Because("the Docker Engine does not answer").
			WithHint("check it with: docker info").Wrap(err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// refused is unreachable, but for what the engine says about the source before
// it begins: the classic builder reads the Dockerfile first.
func refused(what string, err error) error {
	if errdefs.IsInvalidArgument(err) {
		return &engineError{strings.TrimPrefix(err.Error(), "Error response from daemon: ")}
	}
	return unreachable(what, err)
}

// buildKitAPI is the first API version that speaks BuildKit.
const buildKitAPI = "1.39"

// best says which builder of the engine to use for a network. Only the classic
// one joins named networks.
func (e *engine) best(ctx context.Context, want Engine, on string) (Engine, error) {
	ping, err := e.client.Ping(ctx)
	if err != nil {
		return "", unreachable("ask the engine for its version", err)
	}
	e.client.NegotiateAPIVersionPing(ping)
	if want != EngineAuto {
		return want, nil
	}
	if versions.LessThan(e.client.ClientVersion(), buildKitAPI) || ping.OSType == "windows" {
		return EngineClassic, nil
	}
	switch on {
	case "", "default", "bridge", "host", "none":
		return EngineBuildKit, nil
	}
	return EngineClassic, nil
}

// hasNetwork reports whether the engine has a network of that name. One that
// does not answer has none; the build says so.
func (e *engine) hasNetwork(ctx context.Context, name string) bool {
	_, err := e.client.NetworkInspect(ctx, name, network.InspectOptions{})
	return err == nil
}

// modern reports whether the engine's own Dockerfile frontend knows
// here-documents, as of Docker Engine 23.
func (e *engine) modern() bool {
	return versions.GreaterThanOrEqualTo(e.client.ClientVersion(), "1.42")
}

// controlGroups says where the engine's builds run.
func (e *engine) controlGroups(ctx context.Context) (engineFacts, error) {
	info, err := e.client.Info(ctx)
	if err != nil {
		return engineFacts{}, unreachable("ask the engine for its control groups", err)
	}
	return engineFacts{Driver: info.CgroupDriver, Beside: engineBeside("/run/docker.pid"), Version: info.CgroupVersion, MemoryBytes: info.MemTotal, Processors: info.NCPU,
		Rootless: slices.Contains(info.SecurityOptions, "name=rootless"), Local: strings.HasPrefix(e.client.DaemonHost(), "unix://")}, nil
}

// facts describes an image that the engine has; ok is false when it has none.
func (e *engine) facts(ctx context.Context, ref string) (facts imageFacts, ok bool, err error) {
	in, err := e.client.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return imageFacts{}, false, nil
	}
	if err != nil {
		return imageFacts{}, false, unreachable("inspect image "+ref, err)
	}
	facts = imageFacts{ID: in.ID, Arch: in.Architecture, SizeBytes: in.Size, Pulled: len(in.RepoDigests) > 0}
	if in.Config == nil {
		return facts, true, nil
	}
	facts.Command, facts.Entrypoint = in.Config.Cmd, in.Config.Entrypoint
	facts.Labels, facts.Triggers = in.Config.Labels, in.Config.OnBuild
	for p := range in.Config.ExposedPorts {
		port, protocol, _ := strings.Cut(string(p), "/")
		var n int
		if _, err := fmt.Sscanf(port, "%d", &n); err == nil && n > 0 && (protocol == "" || protocol == "tcp") {
			facts.Ports = append(facts.Ports, n)
		}
	}
	slices.Sort(facts.Ports)
	return facts, true, nil
}

// digestIn returns the digest under which a repository is known to hold the
// image; "" when the engine has not pushed it there.
func (e *engine) digestIn(ctx context.Context, id, repository string) (string, error) {
	in, err := e.client.ImageInspect(ctx, id)
	if err != nil {
		return "", unreachable("inspect image "+id, err)
	}
	for _, d := range in.RepoDigests {
		if digest, ok := strings.CutPrefix(d, repository+"@"); ok {
			return digest, nil
		}
	}
	return "", nil
}

// pull fetches an image that nobody has to prove a right to.
func (e *engine) pull(ctx context.Context, ref string, out *output) error {
	body, err := e.client.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		return unreachable("pull image "+ref, err)
	}
	defer body.Close()
	return readMessages(body, func(m message) error {
		if m.Status != "" && m.ID == "" {
			out.indented(m.Status)
		}
		return nil
	})
}

// tag gives an image one more name.
func (e *engine) tag(ctx context.Context, id, ref string) error {
	if err := e.client.ImageTag(ctx, id, ref); err != nil {
		return unreachable("tag image "+ref, err)
	}
	return nil
}

// push sends a tagged image to its registry and returns the manifest's digest.
func (e *engine) push(ctx context.Context, ref string, to cluster.RegistryEndpoint) (string, error) {
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{
		Username: to.Username, Password: to.Password.Reveal(), ServerAddress: to.Address,
	})
	if err != nil {
		return "", fmt.Errorf("push image: %w", err)
	}
	body, err := e.client.ImagePush(ctx, ref, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", unreachable("push image "+ref, err)
	}
	defer body.Close()
	digest := ""
	err = readMessages(body, func(m message) error {
		var pushed struct{ Digest string }
		if json.Unmarshal(m.Aux, &pushed) == nil && pushed.Digest != "" {
			digest = pushed.Digest
		}
		return nil
	})
	var ended *engineError
	if errors.As(err, &ended) { // a full disk, most likely: nothing that the source could mend
		return "", cluster.Errorf(cluster.KindUnavailable, "store", "the image was built and cannot be stored").Because("%s", cleanLine(ended.text)).
			WithHint("look at the server's disk and its log, then deploy again")
	}
	if err != nil {
		return "", fmt.Errorf("push image %s: %w", ref, err)
	}
	if digest == "" {
		return "", fmt.Errorf("push image %s: the engine reported no digest", ref)
	}
	return digest, nil
}

// message is one line of the engine's JSON streams.
type message struct {
	Stream      string          `json:"stream"`
	Status      string          `json:"status"`
	ID          string          `json:"id"`
	Aux         json.RawMessage `json:"aux"`
	Error       string          `json:"error"`
	ErrorDetail struct {
		Message string `json:"message"`
	} `json:"errorDetail"`
}

// engineError is what a stream ended with: the work failed, the engine did not.
type engineError struct{ text string }

// Error is the engine's own text.
func (e *engineError) Error() string { return e.text }

// readMessages calls each for every message of a stream until it ends.
func readMessages(r io.Reader, each func(message) error) error {
	dec := json.NewDecoder(r)
	for {
		var m message
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the engine's answer: %w", err)
		}
		if m.Error != "" || m.ErrorDetail.Message != "" {
			text := m.ErrorDetail.Message
			if text == "" {
				text = m.Error
			}
			return &engineError{text}
		}
		if err := each(m); err != nil {
			return err
		}
	}
}

// ownedImage is one image in the engine, with the names it has.
type ownedImage struct {
	ID   string
	Refs []string // tags and digests
}

// images lists the images that have a name which begins with one of names, or no
// name and the cluster's label.
func (e *engine) images(ctx context.Context, id cluster.ClusterID, names []string) ([]ownedImage, error) {
	all, err := e.client.ImageList(ctx, image.ListOptions{})
	if err != nil {
		return nil, unreachable("list images", err)
	}
	var out []ownedImage
	for _, s := range all {
		o := ownedImage{ID: s.ID}
		for _, ref := range append(s.RepoTags, s.RepoDigests...) {
			if !strings.HasPrefix(ref, "<none>") {
				o.Refs = append(o.Refs, ref)
			}
		}
		labelled := id != "" && s.Labels[labelCluster] == string(id)
		if labelled && len(o.Refs) == 0 || slices.ContainsFunc(o.Refs, startsWith(names)) {
			out = append(out, o)
		}
	}
	return out, nil
}

// startsWith makes a function that reports whether a text begins with one of names.
func startsWith(names []string) func(string) bool {
	return func(s string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(s, n) })
	}
}

// remove takes a name, or an image without one, away. What a container still
// uses stays, and false is returned.
func (e *engine) remove(ctx context.Context, ref string) (bool, error) {
	_, err := e.client.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true})
	switch {
	case err == nil, errdefs.IsNotFound(err):
		return true, nil
	case errdefs.IsConflict(err):
		return false, nil
	}
	return false, unreachable("remove image "+ref, err)
}

// decodeAux reads BuildKit's progress, which the engine sends as base64 in JSON.
func decodeAux(aux json.RawMessage) ([]byte, error) {
	var text string
	if err := json.Unmarshal(aux, &text); err != nil {
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("read the engine's answer: %w", err)
	}
	return b, nil
}
