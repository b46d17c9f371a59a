package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"paas/cluster"
	"paas/identity"
)

// passingTag begins the names of images that are being built.
const passingTag = ":build-"

// generatedName is the generated Dockerfile's name in the context.
const generatedName = ".paas.Dockerfile"

// Build makes an image of a source tree, or takes a prebuilt one, and puts it into
// the registry. What the author of the source can repair is of KindBuildFailed;
// an engine that does not answer is KindUnavailable. When ctx ends the build
// stops, leaves nothing behind, and Build returns ctx's error.
func (b *Builder) Build(ctx context.Context, req Request) (*Result, error) {
	if err := req.App.Validate(); err != nil {
		return nil, err
	}
	j := &job{b: b, req: req, out: newOutput(req.Log, b.config.Limits.LogBytes), phases: map[string]time.Duration{}}
	release, err := j.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	limited, cancel := context.WithTimeout(ctx, b.config.Limits.Time) // only now: another's build is not this one's time
	defer cancel()
	b.active.Add(1)
	defer b.active.Add(-1)
	res, err := j.run(limited)
	if err == nil {
		return res, nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("build %s: %w", req.App, ctx.Err())
	}
	if limited.Err() != nil {
		return nil, failed("build_time", "the build took longer than %s", plainDuration(b.config.Limits.Time)).Wrap(err)
	}
	var ended *engineError
	if errors.As(err, &ended) {
		return nil, j.buildFailed(ended)
	}
	if outOfSpace(err) {
		return nil, diskFull("cannot build", err)
	}
	return nil, err
}

// job is one build under way.
type job struct {
	b        *Builder
	req      Request
	out      *output
	settings settings
	found    Detection
	phases   map[string]time.Duration
}

// slot waits until fewer builds run than may.
func (j *job) slot(ctx context.Context) (release func(), err error) {
	release = func() { <-j.b.slots }
	select {
	case j.b.slots <- struct{}{}:
		return release, nil
	default:
	}
	j.step("Waiting for another build to end")
	select {
	case j.b.slots <- struct{}{}:
		return release, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another build: %w", ctx.Err())
	}
}

func (j *job) step(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if j.req.Step != nil {
		j.req.Step(text)
		return
	}
	j.out.line("-----> " + text)
}

func (j *job) warn(text string) {
	if j.req.Warn != nil {
		j.req.Warn(text)
		return
	}
	j.out.line(" !     " + text)
}

// buildFailed tells the pusher, who may have lost the lines above, and the log.
func (j *job) buildFailed(e *engineError) error {
	if engineOutOfSpace(e) {
		return diskFull("cannot build", e)
	}
	reason := cleanLine(strings.ReplaceAll(plainBuildError(e.text), "\n", "; "))
	j.out.lineOnce(" !     ", reason)
	return failed("build", "the build failed").Because("%s", reason).WithHint("the lines above say why; repair it, commit and push again").Wrap(e)
}

func (j *job) run(ctx context.Context) (*Result, error) {
	if j.req.Dir == "" {
		j.settings = settings{manifest: &Manifest{}}
		j.found = Detection{Method: MethodImage, Reason: j.req.Image}
		j.step("%s", j.found.headline())
		return j.prebuilt(ctx, j.req.Image)
	}
	root, err := os.OpenRoot(j.req.Dir)
	if err != nil {
		return nil, fmt.Errorf("open source tree: %w", err)
	}
	defer root.Close()
	if j.settings, err = readSettings(root.FS()); err != nil {
		return nil, err
	}
	if _, err := j.settings.env(j.req.Keys); err != nil {
		return nil, err
	}
	if j.found, err = j.settings.detect(root.FS()); err != nil {
		return nil, err
	}
	j.step("%s", j.found.headline())
	if j.settings.appJSON != nil {
		for _, w := range j.settings.appJSON.Warnings {
			j.warn(w)
		}
	}
	missing, err := unfetched(ctx, root.FS())
	if err != nil {
		return nil, err
	}
	for _, w := range missing {
		j.warn(w)
	}
	switch j.found.Method {
	case MethodImage:
		return j.prebuilt(ctx, j.settings.manifest.Build.Image)
	case MethodStatic:
		return j.static(ctx, root)
	case MethodDockerfile:
		return j.ownDockerfile(ctx, root)
	}
	return j.generated(ctx, root)
}

// prebuilt takes an image that the engine has or can pull.
func (j *job) prebuilt(ctx context.Context, ref string) (*Result, error) {
	if err := cluster.ValidateImageRef(ref); err != nil {
		return nil, err
	}
	if err := j.vetImage(ref); err != nil {
		return nil, err
	}
	began := time.Now()
	e := j.b.engine
	facts, ok, err := e.facts(ctx, ref)
	if err != nil {
		return nil, err
	}
	if !ok {
		j.step("Pulling %s", ref)
		if err := e.pull(ctx, ref, j.out); err != nil {
			return nil, j.noImage(ctx, ref, err)
		}
		if facts, ok, err = e.facts(ctx, ref); err != nil || !ok {
			return nil, j.noImage(ctx, ref, err)
		}
	}
	if j.ofAnother(facts) {
		return nil, notYours(ref)
	}
	j.phases["build"] = time.Since(began)
	return j.finish(ctx, facts)
}

func (j *job) noImage(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := failed("image", "image %s is neither here nor can it be pulled", ref).WithHint("check its name, or load it on the host: docker load")
	if err != nil {
		return e.Because("%s", cleanLine(err.Error())).Wrap(err)
	}
	return e
}

func (j *job) ownDockerfile(ctx context.Context, root *os.Root) (*Result, error) {
	b := j.settings.manifest.Build
	began := time.Now()
	text, err := readDockerfile(root.FS(), j.found.Dockerfile)
	if err != nil {
		return nil, err
	}
	if err := j.vetDockerfile(ctx, text); err != nil {
		return nil, err
	}
	t, err := listTree(ctx, root, treeSpec{dir: ".", keep: []string{j.found.Dockerfile, dockerIgnoreFile}}, j.b.config.Limits)
	if err != nil {
		return nil, err
	}
	return j.buildAndFinish(ctx, began, buildSpec{context: t, dockerfile: j.found.Dockerfile, target: b.Target, args: b.Args})
}

// generated writes the Dockerfile itself and shows it.
func (j *job) generated(ctx context.Context, root *os.Root) (*Result, error) {
	r, err := j.settings.recipeFor(root.FS(), j.req.App, j.found)
	if err != nil {
		return nil, err
	}
	for _, n := range r.notes() {
		j.out.indented(n)
	}
	kind, err := j.b.engine.best(ctx, j.b.config.Engine, j.b.config.Network)
	if err != nil {
		return nil, err
	}
	base, err := j.base(ctx, r.bases())
	if err != nil {
		return nil, err
	}
	j.step("Dockerfile written for it (commit one of your own to change it)")
	j.out.indented(r.dockerfile(kind, base))
	began := time.Now()
	t, err := listTree(ctx, root, treeSpec{
		dir: ".", extra: map[string][]byte{},
		skip: func(name string) bool { return name == ".git" || name == generatedName },
	}, j.b.config.Limits)
	if err != nil {
		return nil, err
	}
	return j.buildAndFinish(ctx, began, buildSpec{
		context: t, dockerfile: generatedName, args: j.settings.manifest.Build.Args,
		text: func(e Engine) string { return r.dockerfile(e, base) },
	})
}

// base chooses the image to begin with: the first that is here or can be pulled.
// A single candidate is left to the build, which says what is wrong with it.
func (j *job) base(ctx context.Context, candidates []string) (string, error) {
	last := candidates[len(candidates)-1]
	for _, ref := range candidates[:len(candidates)-1] {
		_, ok, err := j.b.engine.facts(ctx, ref)
		if err != nil {
			return "", err
		}
		if ok {
			return ref, nil
		}
		if err := j.b.engine.pull(ctx, ref, j.out); err == nil {
			return ref, nil
		} else if ctx.Err() != nil {
			return "", ctx.Err()
		}
		j.warn(fmt.Sprintf("base image %s is neither here nor can it be pulled; using %s", ref, last))
	}
	return last, nil
}

func (j *job) buildAndFinish(ctx context.Context, began time.Time, s buildSpec) (*Result, error) {
	s.labels = map[string]string{labelCluster: string(j.b.config.Cluster), labelApp: string(j.req.App)}
	s.tag = j.b.registry.endpoint.Address + "/" + repositoryOf(j.req.App) + passingTag + identity.NewID()
	s.stages = stagesRepository(j.b.config.Cluster) + ":" + string(j.req.App) + "."
	j.step("Building (%s in %s)", humanBytes(s.context.bytes), count(len(s.context.files), "file"))
	defer j.untag(ctx, s.tag)
	id, err := j.build(ctx, began, s)
	if err != nil {
		return nil, err
	}
	facts, ok, err := j.b.engine.facts(ctx, id)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("image %s is gone right after its build", id)
	}
	return j.finish(ctx, facts)
}

// count writes a number of things for people.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// untag takes the build's own name away, also after a cancel: with it goes an
// image that came too late.
func (j *job) untag(ctx context.Context, ref string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if _, err := j.b.engine.remove(ctx, ref); err != nil {
		j.b.logger.Warn("image of a build not removed", "image", ref, "err", err)
	}
}

// build runs one build in the engine and takes its time.
func (j *job) build(ctx context.Context, began time.Time, s buildSpec) (string, error) {
	var sent atomic.Int64
	s.limits, s.network, s.covered = j.b.config.Limits, j.b.config.Network, j.b.config.Cluster.Network()
	s.caches = cacheSpace(j.b.registry.endpoint.Password, j.req.App)
	s.sent = func() { sent.Store(int64(time.Since(began))) }
	kind, err := j.b.engine.best(ctx, j.b.config.Engine, s.network)
	if err != nil {
		return "", err
	}
	id, err := j.buildLimited(ctx, kind, s)
	j.phases["context"] = time.Duration(sent.Load())
	j.phases["build"] = time.Since(began) - j.phases["context"]
	return id, err
}

func (j *job) buildWith(ctx context.Context, kind Engine, s buildSpec) (string, error) {
	if s.text != nil {
		s.context.extra[s.dockerfile] = []byte(s.text(kind))
	}
	if kind == EngineClassic {
		return j.b.engine.classic(ctx, s, j.out)
	}
	return j.b.engine.buildKit(ctx, s, j.out)
}

// repositoryOf is the name of an app's images in the registry.
func repositoryOf(app cluster.AppName) string { return path.Join("apps", string(app)) }

// finish makes the process table, pushes the image, and sums up.
func (j *job) finish(ctx context.Context, facts imageFacts) (*Result, error) {
	s := j.settings
	res := &Result{
		Method: string(j.found.Method), Reason: j.found.Reason, Rollout: s.manifest.Rollout, Formation: s.formation(),
		DeployBranch: s.manifest.DeployBranch, Phases: j.phases,
	}
	var err error
	if res.Processes, err = s.processes(j.found.Method, facts); err != nil {
		return nil, err
	}
	if res.Env, err = s.env(j.req.Keys); err != nil {
		return nil, err
	}
	began := time.Now()
	if res.Image, err = j.store(ctx, facts); err != nil {
		return nil, err
	}
	j.phases["push"] = time.Since(began)
	j.out.linef("       context %s, build %s, push %s", short(j.phases["context"]), short(j.phases["build"]), short(j.phases["push"]))
	return res, nil
}

func short(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

// store puts the image into the registry, unless it is there, and pins its digest.
func (j *job) store(ctx context.Context, facts imageFacts) (cluster.Image, error) {
	b := j.b
	image := cluster.Image{Repository: repositoryOf(j.req.App), SizeBytes: facts.SizeBytes, Arch: facts.Arch}
	end, err := b.registry.beginPush(ctx)
	if err != nil {
		return image, err
	}
	defer end()
	local := b.registry.endpoint.Address + "/" + image.Repository
	ref := local + ":" + strings.TrimPrefix(facts.ID, "sha256:")[:12]
	if err := b.engine.tag(ctx, facts.ID, ref); err != nil {
		return image, err
	}
	known, err := b.engine.digestIn(ctx, facts.ID, local)
	if err != nil {
		return image, err
	}
	if image.Digest = known; known == "" || !b.registry.has(ctx, image) {
		j.step("Storing the image (%s)", humanBytes(facts.SizeBytes))
		if image.Digest, err = b.engine.push(ctx, ref, b.registry.endpoint); err != nil {
			return image, err
		}
	}
	b.mu.Lock()
	b.fresh[keyOf(image)] = time.Now()
	b.mu.Unlock()
	return image, nil
}
