package builder

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"paas/cluster"
)

// cacheSpaceArg is the build argument that BuildKit puts in front of the names of
// all cache mounts of a build.
const cacheSpaceArg = "BUILDKIT_CACHE_MOUNT_NS"

// cacheSpace keeps an app's cache mounts apart from everybody else's: whoever can
// write into a compiler's cache writes into what is compiled next. A Dockerfile
// may name any mount, with ".." in it too, so the space must not be guessable.
func cacheSpace(secret cluster.Redacted, app cluster.AppName) string {
	m := hmac.New(sha256.New, []byte(secret.Reveal()))
	m.Write([]byte("cache mounts of " + string(app)))
	return hex.EncodeToString(m.Sum(nil)[:16])
}
