package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"paas/cluster"
)

// Sources are the registries of other servers.
type Sources interface {
	// Fetch calls take with content from a server that has it, and again with the next
	// one's if that was broken off or false. body ends with io.EOF only if it was whole
	// and true. An error of KindNotFound says that no server has it.
	Fetch(ctx context.Context, c cluster.Content, take func(body io.Reader, size int64) error) error
}

// noSources is a registry alone.
type noSources struct{}

// Fetch implements Sources.
func (noSources) Fetch(_ context.Context, c cluster.Content, _ func(io.Reader, int64) error) error {
	return cluster.NotFound("image_content", "there is no other server that could have %s", c)
}

// copyStreams is how many blobs of an image come in at once.
const copyStreams = 4

// copyImage fetches what is missing of an image, and last its manifest: an image that
// is listed is whole.
func (r *blobStore) copyImage(ctx context.Context, from Sources, image cluster.Image) error {
	if err := r.gate.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for the registry: %w", err)
	}
	defer r.gate.Release(1)
	return r.copyManifest(ctx, from, image.Manifest())
}

// copyManifest fetches a manifest with all that it names.
func (r *blobStore) copyManifest(ctx context.Context, from Sources, c cluster.Content) error {
	data, err := r.contents.read(c)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = fetchManifest(ctx, from, c)
	}
	if err != nil {
		return err
	}
	m, _, err := distribution.UnmarshalManifest(cluster.ManifestType(data), data)
	if err != nil {
		return fmt.Errorf("read manifest %s: %w", c, err)
	}
	if err := r.copyReferences(ctx, from, c.Repository, m.References()); err != nil {
		return err
	}
	_, manifests, err := r.manifests(ctx, c.Repository)
	if err != nil {
		return err
	}
	if got, err := manifests.Put(ctx, m); err != nil {
		return fmt.Errorf("store manifest %s: %w", c, err)
	} else if got.String() != c.Digest {
		return fmt.Errorf("store manifest %s: it became %s", c, got)
	}
	return nil
}

func fetchManifest(ctx context.Context, from Sources, c cluster.Content) (data []byte, err error) {
	err = from.Fetch(ctx, c, func(body io.Reader, size int64) error {
		if size > cluster.MaxManifestBytes {
			return fmt.Errorf("manifest %s has %d bytes", c, size)
		}
		data, err = io.ReadAll(body)
		return err
	})
	return data, err
}

// copyReferences fetches what a manifest names. Of the images in a list only those
// that the others have: a registry holds one platform's.
func (r *blobStore) copyReferences(ctx context.Context, from Sources, repository string, refs []v1.Descriptor) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(copyStreams)
	for _, ref := range refs {
		c := cluster.Content{Repository: repository, Digest: ref.Digest.String()}
		if _, ok := cluster.ParseContent(c.Path()); !ok {
			return fmt.Errorf("the image names %.80s, which is no digest", ref.Digest)
		}
		g.Go(func() error {
			if isManifest(ref) {
				c.Kind = cluster.ContentManifest
				if err := r.copyManifest(ctx, from, c); cluster.KindOf(err) != cluster.KindNotFound {
					return err
				}
				return nil
			}
			return r.copyBlob(ctx, from, c, ref.Size)
		})
	}
	return g.Wait()
}

func isManifest(d v1.Descriptor) bool {
	return strings.Contains(d.MediaType, "manifest") || strings.Contains(d.MediaType, "index")
}

// copyBlob fetches a blob unless it is here. size is what its manifest says, -1 if that
// is not known.
func (r *blobStore) copyBlob(ctx context.Context, from Sources, c cluster.Content, size int64) error {
	if r.contents.whole(c, size) {
		// It is another repository's, or this one's: layers are shared between apps.
		return r.driver.PutContent(ctx, layerPath(c), []byte(c.Digest))
	}
	if size >= 0 { // a crash may have left a part of it, and nothing replaces a file that is there
		if err := r.driver.Delete(ctx, blobPath(c.Digest)); err != nil && !absent(err) {
			return err
		}
	}
	repo, _, err := r.manifests(ctx, c.Repository)
	if err != nil {
		return err
	}
	return from.Fetch(ctx, c, func(body io.Reader, has int64) error {
		if size >= 0 && has != size {
			return fmt.Errorf("%s has %d bytes instead of %d", c, has, size)
		}
		w, err := repo.Blobs(ctx).Create(ctx)
		if err != nil {
			return fmt.Errorf("store %s: %w", c, err)
		}
		_, err = io.Copy(w, body)
		if err == nil {
			_, err = w.Commit(ctx, v1.Descriptor{Digest: digest.Digest(c.Digest), MediaType: "application/octet-stream"})
		}
		if err != nil {
			return errors.Join(err, w.Cancel(context.WithoutCancel(ctx)))
		}
		return nil
	})
}

// flight is an image on its way here.
type flight struct {
	image cluster.Image
	done  chan struct{} // closed when it ended
	err   error         // readable once done is closed
}

// Ensure makes sure that the registry holds an image: it fetches what is missing from
// other servers, and keeps the image for freshFor even if nobody else names it. It
// works while Run does; when ctx ends the copy goes on.
func (b *Builder) Ensure(ctx context.Context, image cluster.Image) error {
	if b.registry.has(ctx, image) {
		b.touch(image)
		return nil
	}
	f, begun := b.join(image)
	if begun {
		select {
		case b.flights <- f:
		case <-ctx.Done():
			b.land(f, ctx.Err())
		}
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pull fetches what this host's engine asks for: the whole image behind a manifest, a
// blob that was lost.
func (b *Builder) pull(ctx context.Context, c cluster.Content) error {
	if c.Kind == cluster.ContentManifest {
		return b.Ensure(ctx, cluster.Image{Repository: c.Repository, Digest: c.Digest})
	}
	if err := b.registry.gate.Acquire(ctx, 1); err != nil {
		return err
	}
	defer b.registry.gate.Release(1)
	return b.registry.copyBlob(ctx, b.sources, c, -1)
}

// rotten is told what the registry dropped; it is fetched again.
func (b *Builder) rotten(c cluster.Content, err error) {
	b.logger.Warn("a damaged part of an image was dropped, it is fetched again from another server", "content", c.String(), "err", err)
	b.want()
}

// join returns the image's flight, and whether it has to be begun.
func (b *Builder) join(image cluster.Image) (f *flight, begun bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := keyOf(image)
	if f := b.flying[key]; f != nil {
		return f, false
	}
	f = &flight{image: image, done: make(chan struct{})}
	b.flying[key] = f
	return f, true
}

// land ends a flight.
func (b *Builder) land(f *flight, err error) {
	b.mu.Lock()
	delete(b.flying, keyOf(f.image))
	b.mu.Unlock()
	f.err = err
	close(f.done)
}

// touch keeps an image for a while.
func (b *Builder) touch(image cluster.Image) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh[keyOf(image)] = time.Now()
}

// flyAll runs flights until ctx ends.
func (b *Builder) flyAll(ctx context.Context) {
	var g errgroup.Group
	defer func() { _ = g.Wait() }() // they say it to who waits for them
	for {
		select {
		case f := <-b.flights:
			g.Go(func() error {
				b.touch(f.image) // a collection may come before its first byte
				err := b.registry.copyImage(ctx, b.sources, f.image)
				if err == nil {
					b.touch(f.image)
					b.logger.Info("image copied", "repository", f.image.Repository, "digest", f.image.Digest)
				}
				b.land(f, err)
				return nil
			})
		case <-ctx.Done():
			return
		}
	}
}

const (
	// catchUps is how many images are copied at once that nobody waits for.
	catchUps = 2
	// catchUpFirst is the first pause after images could not be copied; it doubles up to
	// retryMost.
	catchUpFirst = time.Second
)

// catchUp copies what is to be kept and is not here, whenever that may have changed.
func (b *Builder) catchUp(ctx context.Context) {
	wait, warned := catchUpFirst, false
	for {
		again := time.Hour
		if err := b.fill(ctx); err != nil && ctx.Err() == nil {
			if !warned {
				b.logger.Warn("images of releases are missing here, trying again", "err", err)
			}
			again, warned = wait, true
			wait = min(2*wait, retryMost)
		} else {
			wait, warned = catchUpFirst, false
		}
		t := time.NewTimer(again)
		select {
		case <-b.wanting:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// fill copies every image to be kept that is not here.
func (b *Builder) fill(ctx context.Context) error {
	images := b.lacking(ctx)
	errs := make([]error, len(images))
	var g errgroup.Group
	g.SetLimit(catchUps)
	for i, image := range images {
		g.Go(func() error {
			if err := b.Ensure(ctx, image); err != nil {
				errs[i] = fmt.Errorf("image %s@%.19s: %w", image.Repository, image.Digest, err)
			}
			return nil // the others are copied all the same
		})
	}
	return errors.Join(append(errs, g.Wait())...)
}

// lacking are the images to be kept that are not here.
func (b *Builder) lacking(ctx context.Context) []cluster.Image {
	return slices.DeleteFunc(b.held(), func(i cluster.Image) bool { return b.registry.has(ctx, i) })
}

// held are the images to be kept, in a fixed order.
func (b *Builder) held() []cluster.Image {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cluster.Image
	for k := range b.keep {
		if k.repository != "" { // one that only some engine has
			all = append(all, cluster.Image{Repository: k.repository, Digest: k.digest})
		}
	}
	slices.SortFunc(all, func(x, y cluster.Image) int {
		return strings.Compare(x.Repository+x.Digest, y.Repository+y.Digest)
	})
	return all
}

// want wakes catchUp.
func (b *Builder) want() {
	select {
	case b.wanting <- struct{}{}:
	default: // it will look anyway
	}
}
