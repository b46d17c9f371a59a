package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"paas/cluster"
)

// A static site's image is FROM scratch: the paas binary as its file server, in a
// base image that is built once per binary, and the files on top.
const (
	siteFolder     = "site"
	staticBaseText = `FROM scratch
COPY paas /paas
WORKDIR /` + siteFolder + `
USER 65534:65534
ENV PORT=8080
EXPOSE 8080
CMD ["/paas", "serve-static", "/` + siteFolder + `"]
`
)

// staticMemoryBytes is what a static site reserves unless paas.toml says more.
const staticMemoryBytes = 64 << 20

// namesOf is the beginning of every name outside the registry that a cluster's
// builder gives to images.
func namesOf(id cluster.ClusterID) string {
	if id == "" {
		return "paas/"
	}
	return "paas-" + string(id) + "/"
}

// staticRepository names the base images of a cluster's static sites,
// stagesRepository the stages of classic builds, tagged APP.N.
func staticRepository(id cluster.ClusterID) string { return namesOf(id) + "static" }
func stagesRepository(id cluster.ClusterID) string { return namesOf(id) + "stages" }

// siteHidden are files at the root of a tree that describe the app and are no
// part of the site.
var siteHidden = []string{manifestFile, procFile, appJSONFile, "node_modules", "Dockerfile"}

// inSite reports whether a file of the site's folder is to be served.
func inSite(dir, name string) bool {
	rel := strings.TrimPrefix(name, dir+"/")
	if base := path.Base(name); strings.HasPrefix(base, ".") && base != ".well-known" {
		return false
	}
	return dir != "." || !slices.Contains(siteHidden, rel)
}

// static builds a site: a COPY on the base image.
func (j *job) static(ctx context.Context, root *os.Root) (*Result, error) {
	base, err := j.ensureBase(ctx)
	if err != nil {
		return nil, err
	}
	text := "FROM " + base + "\nCOPY " + siteFolder + "/ /" + siteFolder + "/\n"
	j.out.indented(text)
	began := time.Now()
	dir := j.found.Dir
	t, err := listTree(ctx, root, treeSpec{
		dir: dir, under: siteFolder, extra: map[string][]byte{generatedName: []byte(text)},
		skip: func(name string) bool { return !inSite(dir, name) },
	}, j.b.config.Limits)
	if err != nil {
		return nil, err
	}
	if len(t.files) == 0 {
		return nil, failed("static", "there is no file to serve").Because("folder %s is empty", dir)
	}
	return j.buildAndFinish(ctx, began, buildSpec{context: t, dockerfile: generatedName})
}

// staticBase is the name of the base image for the binary in use; "" when no
// site was built yet.
func (b *Builder) staticBase() string {
	b.binary.mu.Lock()
	defer b.binary.mu.Unlock()
	if b.binary.sum == "" {
		return ""
	}
	return staticRepository(b.config.Cluster) + ":" + b.binary.sum
}

// ensureBase builds the base image unless the engine has it. Builds that need
// it at once wait for the first.
func (j *job) ensureBase(ctx context.Context) (string, error) {
	b := j.b
	binary := b.config.Binary
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("find the paas binary: %w", err)
		}
		binary = self
	}
	sum, err := b.binary.of(binary)
	if err != nil {
		return "", fmt.Errorf("read the paas binary: %w", err)
	}
	base := staticRepository(b.config.Cluster) + ":" + sum
	b.binary.building.Lock()
	defer b.binary.building.Unlock()
	if _, ok, err := b.engine.facts(ctx, base); err != nil || ok {
		return base, err
	}
	j.step("Making the base image of static sites (once per version of paas)")
	return base, j.buildBase(ctx, binary, base)
}

func (j *job) buildBase(ctx context.Context, binary, tag string) error {
	root, err := os.OpenRoot(filepath.Dir(binary))
	if err != nil {
		return fmt.Errorf("read the paas binary: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(filepath.Base(binary))
	if err != nil {
		return fmt.Errorf("read the paas binary: %w", err)
	}
	t := &tree{
		root: root, dir: ".", extra: map[string][]byte{"Dockerfile": []byte(staticBaseText)},
		files: []treeFile{{name: filepath.Base(binary), as: "paas", info: info}},
	}
	phases := j.phases
	j.phases = map[string]time.Duration{} // the base is no part of the deploy's own times
	_, err = j.build(ctx, time.Now(), buildSpec{
		context: t, dockerfile: "Dockerfile", tag: tag, labels: map[string]string{labelCluster: string(j.b.config.Cluster)},
	})
	j.phases = phases
	return err
}

// binaryHash remembers the hash of the paas binary, which names its base image.
type binaryHash struct {
	building sync.Mutex

	mu    sync.Mutex
	sum   string
	size  int64
	mtime time.Time
}

// of returns the hash of the file at path, 16 hex digits.
func (h *binaryHash) of(path string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if h.sum != "" && info.Size() == h.size && info.ModTime().Equal(h.mtime) {
		return h.sum, nil
	}
	sum := sha256.New()
	// The Dockerfile is part of the base image, too.
	sum.Write([]byte(staticBaseText))
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	h.sum, h.size, h.mtime = hex.EncodeToString(sum.Sum(nil)[:8]), info.Size(), info.ModTime()
	return h.sum, nil
}
