package builder

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/build"
)

// classicNoiseRE matches the builder's talk of its own containers and images.
var classicNoiseRE = regexp.MustCompile(`^( --->( Running in)?( [0-9a-f]{12})?|Removing intermediate container .*|Successfully (built|tagged) .*)$`)

var (
	classicLayerRE = regexp.MustCompile(`^ ---> ([0-9a-f]{12})$`)
	classicStageRE = regexp.MustCompile(`^Step [0-9]+/[0-9]+ : FROM `)
)

// classic builds with the engine's own old builder and returns the image's ID.
func (e *engine) classic(ctx context.Context, s buildSpec, out *output) (string, error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	var written error
	go func() {
		defer close(done)
		written = s.context.writeTo(ctx, w)
		if written == nil {
			s.sent()
		}
		_ = w.CloseWithError(written) // never fails
	}()
	image, stages, err := e.classicBuild(ctx, s, r, out)
	e.nameStages(ctx, s.stages, stages)
	_ = r.Close() // never fails; ends writeTo when the engine does not read on
	<-done
	if written != nil && err != nil && !errors.Is(written, io.ErrClosedPipe) {
		return "", written
	}
	return image, err
}

// classicBuild returns the image's ID and those of the stages before the last.
func (e *engine) classicBuild(ctx context.Context, s buildSpec, r io.Reader, out *output) (image string, stages []string, err error) {
	o := s.options("")
	o.Version, o.Memory, o.MemorySwap = build.BuilderV1, s.limits.MemoryBytes, s.limits.MemoryBytes
	o.CgroupParent = s.parent
	o.CPUShares = stepShares // builds never starve serving
	if s.network == "" && e.hasNetwork(ctx, s.covered) {
		o.NetworkMode = s.covered // on the engine's own bridge a step would pass for somebody's container
	}
	if s.limits.CPUMilli > 0 {
		o.CPUPeriod, o.CPUQuota = 100_000, s.limits.CPUMilli*100
	}
	resp, err := e.client.ImageBuild(ctx, r, o)
	if err != nil {
		return "", nil, refused("start the build", err)
	}
	defer resp.Body.Close()
	layer := ""
	lines := lineBuffer{emit: func(line string) {
		if m := classicLayerRE.FindStringSubmatch(line); m != nil {
			layer = m[1]
		} else if classicStageRE.MatchString(line) && layer != "" {
			stages = append(stages, layer)
		}
		if line = strings.TrimRight(line, " \r"); line != "" && !classicNoiseRE.MatchString(line) {
			out.line("       " + line)
		}
	}}
	defer lines.flush()
	err = readMessages(resp.Body, func(m message) error {
		_, _ = lines.Write([]byte(m.Stream)) // never fails
		if len(m.Aux) > 0 {
			return json.Unmarshal(m.Aux, &struct{ ID *string }{&image})
		}
		return nil
	})
	if err == nil && image == "" {
		err = errors.New("the engine reported no image")
	}
	return image, stages, err
}

// nameStages gives the stages of a multi-stage build a name under prefix, since
// the classic builder leaves them behind without one: named they are a cache
// that the next build of the app replaces and Purge finds.
func (e *engine) nameStages(ctx context.Context, prefix string, stages []string) {
	if prefix == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for i, id := range stages {
		ref := prefix + strconv.Itoa(i+1)
		before, had, err := e.facts(ctx, ref)
		if err != nil || e.tag(ctx, id, ref) != nil {
			continue // a cache that is not found again costs time only
		}
		if now, ok, err := e.facts(ctx, ref); had && ok && err == nil && now.ID != before.ID {
			_, _ = e.remove(ctx, before.ID) // as above
		}
	}
}
