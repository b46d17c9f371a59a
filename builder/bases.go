package builder

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// ours reports whether a reference names an image of this cluster: one in its
// registry, by whatever name the host goes, or one of the builder's own.
func (b *Builder) ours(ref string) bool {
	ref = strings.ToLower(strings.TrimSpace(ref))
	_, port, _ := net.SplitHostPort(b.registry.endpoint.Address)
	host, _, found := strings.Cut(ref, "/")
	if found && strings.HasSuffix(host, ":"+port) {
		return true
	}
	named, err := reference.ParseNormalizedNamed(ref)
	return err == nil && strings.HasPrefix(reference.FamiliarName(named), namesOf(b.config.Cluster))
}

// ofAnother reports whether the engine has ref as an image that was built here
// for another app: an ID names one as well as its name does.
func (j *job) ofAnother(facts imageFacts) bool {
	return facts.Labels[labelCluster] == string(j.b.config.Cluster) && facts.Labels[labelApp] != "" && facts.Labels[labelApp] != string(j.req.App)
}

// vetDockerfile refuses a Dockerfile that would make the engine reach where the
// build's own steps cannot.
func (j *job) vetDockerfile(ctx context.Context, text []byte) error {
	if _, err := j.b.engine.best(ctx, j.b.config.Engine, j.b.config.Network); err != nil {
		return err // and it now knows the engine's version
	}
	rules := dockerfileRules{
		file: j.found.Dockerfile, args: j.settings.manifest.Build.Args, ours: j.b.ours,
		hostNetwork: j.b.config.Network == "host", modern: j.b.engine.modern(),
	}
	use, err := rules.check(text)
	if err != nil {
		return err
	}
	for _, ref := range use.bases {
		facts, err := j.fetchBase(ctx, ref)
		if err != nil {
			return err
		}
		more, err := rules.checkTriggers(ref, facts.Triggers)
		if err != nil {
			return err
		}
		use.other = append(use.other, more.other...)
	}
	for _, ref := range append(use.bases, use.other...) {
		if facts, ok, err := j.b.engine.facts(ctx, ref); err != nil {
			return err
		} else if ok && j.ofAnother(facts) {
			return notYours(ref)
		}
	}
	return nil
}

func notYours(ref string) error {
	return failed("image", "image %s is not yours to build on", shorten(ref)).Because("%s", ownedElsewhere).WithHint(publishHint)
}

// baseAge is how long a pulled base image serves before a build looks for a newer
// one. Registries count pulls: Docker Hub's anonymous ones are limited to 100 in
// six hours, so not every build may ask.
const baseAge = 24 * time.Hour

// due reports, once per baseAge, that a registry should be asked for ref.
func (b *Builder) due(ref string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if at, ok := b.asked[ref]; ok && now.Sub(at) < baseAge {
		return false
	}
	b.asked[ref] = now
	return true
}

// fetchBase makes sure that the engine has a base image. One from a registry is
// pulled again now and then, if that answers; one that was built or loaded here is
// its owner's to renew.
func (j *job) fetchBase(ctx context.Context, ref string) (imageFacts, error) {
	e := j.b.engine
	facts, ok, err := e.facts(ctx, ref)
	if err != nil {
		return facts, err
	}
	if due := j.b.due(ref, time.Now()); ok && (!facts.Pulled || !due) {
		return facts, nil
	}
	j.step("Pulling %s", ref)
	if err := e.pull(ctx, ref, j.out); err != nil && (!ok || ctx.Err() != nil) {
		return facts, j.noImage(ctx, ref, err)
	} else if err != nil {
		j.warn(fmt.Sprintf("%s cannot be pulled anew; using the one that is here", ref))
		return facts, nil
	}
	if facts, ok, err = e.facts(ctx, ref); err != nil || !ok {
		return facts, j.noImage(ctx, ref, err)
	}
	return facts, nil
}

// vetImage refuses a prebuilt image that is another app's.
func (j *job) vetImage(ref string) error {
	own := j.b.registry.endpoint.Address + "/" + repositoryOf(j.req.App)
	if j.b.ours(ref) && !strings.HasPrefix(ref, own+"@") && !strings.HasPrefix(ref, own+":") {
		return notYours(ref)
	}
	return nil
}
