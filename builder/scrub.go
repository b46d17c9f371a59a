package builder

import (
	"context"
	"time"

	"github.com/distribution/distribution/v3"

	"paas/cluster"
)

const (
	// scrubEvery is how often a registry reads all that it holds. A copy that rots
	// while nobody reads it would be missed only when it is the last one.
	scrubEvery = 24 * time.Hour
	// scrubAgain is how soon it comes back to images whose manifests were missing.
	scrubAgain = 10 * time.Second
	// scrubShare is how many times as long as a read the pause after it is: the disk is
	// the apps'.
	scrubShare = 4
)

// scrub reads what is to be kept, slowly, when the builder has learned what that is
// and then once a day. What is damaged is dropped by that, and copied again.
func (b *Builder) scrub(ctx context.Context) {
	select {
	case <-b.told:
	case <-ctx.Done():
		return
	}
	for {
		again := scrubEvery
		for _, image := range b.held() {
			parts := b.registry.parts(image.Manifest())
			if len(parts) == 0 {
				again = scrubAgain // its manifest is about to be copied, the rest was not read
			}
			for _, c := range parts {
				began := time.Now()
				_ = b.registry.contents.check(c) // who has to know is told by rotten
				if !pause(ctx, scrubShare*time.Since(began)) {
					return
				}
			}
		}
		if !pause(ctx, again) {
			return
		}
	}
}

// pause waits for d; false if ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// parts are a manifest and all that it names.
func (r *blobStore) parts(c cluster.Content) []cluster.Content {
	data, err := r.contents.read(c)
	if err != nil {
		return nil // catchUp is about to fetch it
	}
	all := []cluster.Content{c}
	m, _, err := distribution.UnmarshalManifest(cluster.ManifestType(data), data)
	if err != nil {
		return all
	}
	for _, ref := range m.References() {
		part := cluster.Content{Repository: c.Repository, Digest: ref.Digest.String()}
		if _, ok := cluster.ParseContent(part.Path()); !ok {
			continue
		}
		if isManifest(ref) {
			part.Kind = cluster.ContentManifest
			all = append(all, r.parts(part)...)
		} else {
			all = append(all, part)
		}
	}
	return all
}
