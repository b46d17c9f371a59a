package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"paas/cluster"
)

// Kept are the engine's names of the volumes that the claim's cluster has on this
// host: a Purge leaves them, for data goes only when somebody destroys exactly it.
func (c *Claim) Kept(ctx context.Context) ([]string, error) {
	d, err := newDocker(c.cluster)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.client.Close() }()
	all, err := d.ownVolumes(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []string
	for _, v := range all {
		out = append(out, v.Name)
	}
	slices.Sort(out)
	return out, nil
}

// Purge removes every container, the network and the firewall table of the claim's
// cluster from this host, and nothing else: anonymous volumes go with their
// containers, named ones stay. It tries everything before it says what did not go.
func (c *Claim) Purge(ctx context.Context) error {
	d, err := newDocker(c.cluster)
	if err != nil {
		return err
	}
	defer func() { _ = d.client.Close() }()
	all, err := d.List(ctx)
	if err != nil {
		return fmt.Errorf("purge: list containers: %w", err)
	}
	var failed []error
	for _, made := range all {
		if err := d.Remove(ctx, made.ID); err != nil {
			failed = append(failed, fmt.Errorf("remove container %s: %w", made.ID, err))
		}
	}
	return errors.Join(append(failed, d.removeNetwork(ctx), removeFirewall(c.cluster))...)
}

// PurgeImages removes the images that came through the mirror of the agent whose
// Config.Dir is dir: after Purge, and before dir goes, which alone knows their names.
// A host whose server has a registry has none.
func (c *Claim) PurgeImages(ctx context.Context, dir string) error {
	mirrors, err := mirrorsOf(dir)
	if err != nil || len(mirrors) == 0 {
		return err
	}
	d, err := newDocker(c.cluster)
	if err != nil {
		return err
	}
	defer func() { _ = d.client.Close() }()
	names, err := d.Names(ctx)
	if err != nil {
		return fmt.Errorf("purge: list images: %w", err)
	}
	left := 0
	for _, name := range names {
		if !givenBy(mirrors, name) {
			continue
		}
		gone, err := d.Drop(ctx, name)
		if err != nil {
			return fmt.Errorf("purge: remove image %s: %w", name, err)
		}
		if !gone {
			left++
		}
	}
	if left > 0 {
		return cluster.Conflict("images", "%d images could not be removed", left).Because("containers still use them").
			WithHint("stop the containers first, then try again")
	}
	return nil
}

// mirrorsOf are the addresses of the mirror of the agent in dir; none if there was none.
func mirrorsOf(dir string) ([]string, error) {
	if _, err := os.Stat(filepath.Join(dir, memoryFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	m, err := openMemory(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.close() }() // nothing was written
	e, err := m.registry()
	if err != nil || e == nil {
		return nil, err
	}
	s, err := m.spared()
	return append(s.Mirrors, e.Address), err
}

// givenBy reports whether one of the mirrors gave an image its name.
func givenBy(mirrors []string, name string) bool {
	return slices.ContainsFunc(mirrors, func(m string) bool { return strings.HasPrefix(name, m+"/") })
}
