package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
)

// Has implements images.
func (d *docker) Has(ctx context.Context, ref imageRef) (bool, error) {
	if err := d.negotiate(ctx); err != nil {
		return false, err
	}
	_, err := d.client.ImageInspect(ctx, ref.String())
	if cerrdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, engineError(err)
}

// Fetch implements images.
func (d *docker) Fetch(ctx context.Context, ref imageRef) error {
	if has, err := d.Has(ctx, ref); has || err != nil {
		return err
	}
	if ref.Image.Repository == "" {
		return fmt.Errorf("%w: %s", errNoImage, ref)
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: ref.Registry.Username,
		Password: ref.Registry.Password.Reveal(), ServerAddress: ref.Registry.Address})
	if err != nil {
		return fmt.Errorf("encode registry credentials: %w", err)
	}
	body, err := d.client.ImagePull(ctx, ref.String(), image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return pullError(err.Error(), engineError(err))
	}
	defer func() { _ = body.Close() }() // read to its end, or given up
	return pulled(body)
}

// Names implements images.
func (d *docker) Names(ctx context.Context) ([]string, error) {
	if err := d.negotiate(ctx); err != nil {
		return nil, err
	}
	all, err := d.client.ImageList(ctx, image.ListOptions{Filters: d.own()})
	if err != nil {
		return nil, engineError(err)
	}
	var out []string
	for _, s := range all {
		for _, name := range s.RepoDigests {
			if !strings.HasPrefix(name, "<none>") {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

// Drop implements images.
func (d *docker) Drop(ctx context.Context, name string) (bool, error) {
	if err := d.negotiate(ctx); err != nil {
		return false, err
	}
	_, err := d.client.ImageRemove(ctx, name, image.RemoveOptions{PruneChildren: true})
	switch {
	case err == nil, cerrdefs.IsNotFound(err):
		return true, nil
	case cerrdefs.IsConflict(err):
		return false, nil
	}
	return false, engineError(err)
}

// pulled reads the progress of a pull to its end.
func pulled(progress io.Reader) error {
	for dec := json.NewDecoder(progress); ; {
		var line struct {
			Error string `json:"error"`
		}
		err := dec.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return engineError(err)
		case line.Error != "":
			return pullError(line.Error, errors.New(line.Error))
		}
	}
}

// pullError finds out whether the registry denies that the image exists. The
// engine gives no type for that: the registry's own words, fixed by the
// distribution specification ("manifest unknown", "name unknown"), are all
// there is.
func pullError(text string, err error) error {
	if cerrdefs.IsNotFound(err) || strings.Contains(text, "manifest unknown") || strings.Contains(text, "name unknown") ||
		strings.Contains(text, "repository name not known") {
		return fmt.Errorf("%w: %w", errNoImage, err)
	}
	return err
}
