package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"paas/cluster"
)

// freshFor is how long an image stays although nobody names it: the time between
// a push to the registry and the release made of it, with room to spare.
const freshFor = 15 * time.Minute

// imageKey is what identifies an image; size and platform are remarks.
type imageKey struct{ repository, digest string }

func keyOf(i cluster.Image) imageKey { return imageKey{i.Repository, i.Digest} }

// Hold says which images to keep. Those that are missing are copied from other servers
// by Run.
func (b *Builder) Hold(keep map[cluster.Image]bool) {
	wanted := map[imageKey]bool{}
	for i, yes := range keep {
		if yes {
			wanted[keyOf(i)] = true
		}
	}
	b.mu.Lock()
	b.keep = wanted
	b.mu.Unlock()
	b.telling.Do(func() { close(b.told) })
	b.want()
}

// Retain is Hold, and drops all other images from the registry and from the engine, but
// for those built, copied or pulled in the last quarter of an hour. It waits for pushes
// to end and keeps new ones waiting. Run comes back for what was fresh or in use
// by a container, and when Retain fails.
func (b *Builder) Retain(ctx context.Context, keep map[cluster.Image]bool) error {
	b.Hold(keep)
	err := b.collect(ctx)
	if err != nil {
		b.markDirty()
	}
	return err
}

// kept returns what to keep now; nil when nobody has said it yet.
func (b *Builder) kept(now time.Time) map[imageKey]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.keep == nil {
		return nil
	}
	all := make(map[imageKey]bool, len(b.keep)+len(b.fresh))
	for k := range b.keep {
		all[k] = true
	}
	for k, at := range b.fresh {
		if now.Sub(at) < freshFor {
			all[k] = true
		} else {
			delete(b.fresh, k)
		}
	}
	return all
}

// Trim is Retain with what it was last told, and drops as well what pushes left
// unfinished: for a disk that fills.
func (b *Builder) Trim(ctx context.Context) error {
	return b.pass(ctx, func(ctx context.Context, keep map[imageKey]bool) (int, error) {
		b.registry.forgetUploads(ctx) // none is under way
		n, err := b.registry.dropManifests(ctx, keep)
		if err == nil {
			err = b.registry.sweep(ctx)
		}
		return n, err
	})
}

// collect is one pass over registry and engine.
func (b *Builder) collect(ctx context.Context) error { return b.pass(ctx, b.registry.drop) }

// pass drops from the registry, then from the engine.
func (b *Builder) pass(ctx context.Context, drop func(context.Context, map[imageKey]bool) (int, error)) error {
	end, err := b.registry.beginCollection(ctx)
	if err != nil {
		return err
	}
	defer end()
	keep := b.kept(time.Now()) // only now: a push that just ended counts
	if keep == nil {
		return nil
	}
	dropped, err := drop(ctx, keep)
	if err != nil {
		return err
	}
	removed, used, err := b.removeImages(ctx, keep)
	b.mu.Lock()
	b.later = used > 0 || len(b.fresh) > 0
	b.mu.Unlock()
	if dropped+removed > 0 {
		b.logger.Info("images removed", "registry", dropped, "engine", removed)
	}
	return err
}

// drop deletes manifests that are not kept, then the blobs that nothing names; it
// looks for those only if a manifest went. The caller holds the gate.
func (r *blobStore) drop(ctx context.Context, keep map[imageKey]bool) (int, error) {
	dropped, err := r.dropManifests(ctx, keep)
	if err != nil || dropped == 0 {
		return dropped, err
	}
	return dropped, r.sweep(ctx)
}

func (r *blobStore) dropManifests(ctx context.Context, keep map[imageKey]bool) (int, error) {
	repositories, err := r.repositories(ctx)
	if err != nil {
		return 0, err
	}
	dropped := 0
	for _, name := range repositories {
		n, err := r.dropFrom(ctx, name, keep)
		if err != nil {
			return dropped, fmt.Errorf("clean repository %s: %w", name, err)
		}
		dropped += n
	}
	return dropped, nil
}

// sweep removes the blobs that no manifest names.
func (r *blobStore) sweep(ctx context.Context) error {
	// A registry that never took an image lacks one of them, which MarkAndSweep hides
	// behind an error of no type.
	for _, path := range []string{"/docker/registry/v2/repositories", "/docker/registry/v2/blobs"} {
		if _, err := r.driver.Stat(ctx, path); absent(err) {
			return nil
		}
	}
	if err := storage.MarkAndSweep(ctx, r.driver, r.names, storage.GCOpts{Quiet: true}); err != nil {
		return fmt.Errorf("collect registry garbage: %w", err)
	}
	return nil
}

func (r *blobStore) repositories(ctx context.Context) ([]string, error) {
	all, ok := r.names.(distribution.RepositoryEnumerator)
	if !ok {
		return nil, errors.New("the registry cannot list its repositories")
	}
	var names []string
	err := all.Enumerate(ctx, func(name string) error {
		names = append(names, name)
		return nil
	})
	if absent(err) {
		return nil, nil // nothing was ever pushed
	}
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	return names, nil
}

func (r *blobStore) dropFrom(ctx context.Context, name string, keep map[imageKey]bool) (int, error) {
	repo, manifests, err := r.manifests(ctx, name)
	if err != nil {
		return 0, err
	}
	all, ok := manifests.(distribution.ManifestEnumerator)
	if !ok {
		return 0, errors.New("the registry cannot list its manifests")
	}
	var gone []digest.Digest
	kept := 0
	err = all.Enumerate(ctx, func(d digest.Digest) error {
		if keep[imageKey{name, d.String()}] {
			kept++
		} else {
			gone = append(gone, d)
		}
		return nil
	})
	if err != nil && !absent(err) {
		return 0, err
	}
	for _, d := range gone {
		tags, err := repo.Tags(ctx).Lookup(ctx, v1.Descriptor{Digest: d})
		if err != nil && !absent(err) {
			return 0, err
		}
		for _, tag := range tags {
			if err := repo.Tags(ctx).Untag(ctx, tag); err != nil {
				return 0, err
			}
		}
		if err := manifests.Delete(ctx, d); err != nil {
			return 0, err
		}
	}
	if kept == 0 && len(gone) > 0 {
		if err := storage.NewVacuum(ctx, r.driver).RemoveRepository(name); err != nil && !absent(err) {
			return 0, err
		}
	}
	return len(gone), nil
}

func absent(err error) bool {
	var path driver.PathNotFoundError
	var unknown distribution.ErrRepositoryUnknown
	return errors.As(err, &path) || errors.As(err, &unknown)
}

// removeImages drops this cluster's images from the engine, but for what is kept
// and the static sites' base. It returns how many went and how many are in use.
func (b *Builder) removeImages(ctx context.Context, keep map[imageKey]bool) (removed, used int, err error) {
	images, err := b.engine.images(ctx, b.config.Cluster, b.names())
	if err != nil {
		return 0, 0, err
	}
	base := b.staticBase()
	for _, i := range images {
		if slices.Contains(i.Refs, base) || b.building(i) || b.keeps(i, keep) || b.cachesFor(i, keep) {
			continue
		}
		gone, err := b.engine.removeAll(ctx, i, b.names())
		if err != nil {
			return removed, used, err
		}
		if gone {
			removed++
		} else {
			used++
		}
	}
	return removed, used, nil
}

// building reports whether the image bears the passing name of a build under way.
func (b *Builder) building(i ownedImage) bool {
	return b.active.Load() > 0 && slices.ContainsFunc(i.Refs, func(r string) bool { return strings.Contains(r, passingTag) })
}

// keeps reports whether one of the image's digests is kept.
func (b *Builder) keeps(i ownedImage, keep map[imageKey]bool) bool {
	for _, ref := range i.Refs {
		name, d, ok := strings.Cut(ref, "@")
		name, mine := strings.CutPrefix(name, b.registry.endpoint.Address+"/")
		if ok && mine && keep[imageKey{name, d}] {
			return true
		}
	}
	return false
}

// cachesFor reports whether the image is a stage of an app of which something is kept.
func (b *Builder) cachesFor(i ownedImage, keep map[imageKey]bool) bool {
	for _, ref := range i.Refs {
		tag, stage := strings.CutPrefix(ref, stagesRepository(b.config.Cluster)+":")
		app, _, _ := strings.Cut(tag, ".")
		for k := range keep {
			if stage && k.repository == repositoryOf(cluster.AppName(app)) {
				return true
			}
		}
	}
	return false
}

// names are the beginnings of every image name that this cluster gives.
func (b *Builder) names() []string {
	return []string{b.registry.endpoint.Address + "/", namesOf(b.config.Cluster)}
}

// removeAll takes an image's names of ours away; the last one takes the image
// along. Names that others gave it stay, and the image with them.
func (e *engine) removeAll(ctx context.Context, i ownedImage, names []string) (bool, error) {
	ours := startsWith(names)
	refs := []string{i.ID}
	if len(i.Refs) > 0 {
		refs = slices.DeleteFunc(slices.Clone(i.Refs), func(r string) bool { return !ours(r) })
	}
	gone := false
	for _, ref := range refs {
		ok, err := e.remove(ctx, ref)
		if err != nil {
			return gone, err
		}
		gone = gone || ok
	}
	return gone, nil
}

// Purge removes every image that a cluster's builder made in the engine: those
// with the cluster's label and those named after its registry. Images that bear
// a name somebody else gave keep that name.
func Purge(ctx context.Context, id cluster.ClusterID, registry string) error {
	if id == "" {
		return cluster.Invalid("cluster", "cannot purge images without a cluster's ID")
	}
	e, err := newEngine()
	if err != nil {
		return err
	}
	defer e.client.Close()
	names := []string{namesOf(id)}
	if registry != "" {
		names = append(names, registry+"/")
	}
	images, err := e.images(ctx, id, names)
	if err != nil {
		return err
	}
	// Images are built on each other: those that others stand on go last.
	var left []string
	for range 3 {
		left = nil
		for _, i := range images {
			if gone, err := e.removeAll(ctx, i, names); err != nil {
				return err
			} else if !gone {
				left = append(left, i.ID)
			}
		}
		if left == nil {
			return nil
		}
		if images, err = e.images(ctx, id, names); err != nil {
			return err
		}
	}
	if len(images) == 0 {
		return nil
	}
	return cluster.Conflict("images", "%d images could not be removed", len(images)).Because("containers still use them").
		WithHint("stop the containers first, then try again")
}
