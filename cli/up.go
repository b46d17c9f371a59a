package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"paas/agent"
	"paas/api"
	"paas/cluster"
	"paas/server"
)

// devContext is the context that "up" writes.
const devContext = "dev"

func upVerb() *verb {
	return &verb{name: "up", group: groupRun, summary: "run everything here, on loopback, for yourself", run: up,
		about: "One process is server, agent, router, builder and git endpoint. It needs Docker and nothing\n" +
			"else: no root, no domain, no account. Ctrl-C or paas down stops it with its containers and\n" +
			"keeps the state; the next paas up brings the apps back.",
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` of plain HTTP, which redirects", Value: "127.0.0.1:8080"},
			&cli.StringFlag{Name: "https", Usage: "`ADDRESS` of HTTPS", Value: "127.0.0.1:8443"},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` of API and git", Value: "127.0.0.1:7443"},
			&cli.StringFlag{Name: "data", Usage: "`DIR` of the state", DefaultText: "~/.local/share/paas/dev"},
			&cli.StringFlag{Name: "domain", Usage: "apps are at APP.`DOMAIN`", Value: "localhost"},
			&cli.BoolFlag{Name: "fresh", Usage: "begin anew: everything in the data directory goes first"},
			&cli.StringFlag{Name: "registry", Usage: "loopback `ADDRESS` of the registry, instead of one that is chosen once"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "go to the background once it is ready"},
			&cli.IntFlag{Name: "ready-fd", Hidden: true},
		}, append(buildFlags(), logFlags("warn")...)...),
		examples: []string{"paas up", "paas up --detach", "paas up --data /tmp/try --http 127.0.0.1:9080 --fresh"}}
}

// validPath refuses what no file system takes; the engine would say it in its way.
func validPath(flag, path string) error {
	if strings.ContainsRune(path, 0) {
		return cluster.Invalid(flag, "--%s names no file", flag).Because("%q holds a NUL byte", oneLine(path))
	}
	return nil
}

// dataDir is --data, or the default one.
func (in *invocation) dataDir() (string, error) {
	if dir := in.String("data"); dir != "" {
		if err := validPath("data", dir); err != nil {
			return "", err
		}
		return filepath.Abs(dir)
	}
	return in.usualData()
}

// usualData is the data directory of who names none.
func (in *invocation) usualData() (string, error) {
	base := in.env("XDG_DATA_HOME")
	if !filepath.IsAbs(base) {
		if in.env("HOME") == "" {
			return "", cluster.Invalid("data", "no data directory is named, and HOME is not set").WithHint("name one: --data DIR")
		}
		base = filepath.Join(in.env("HOME"), ".local", "share")
	}
	return filepath.Join(base, "paas", devContext), nil
}

func up(ctx context.Context, in *invocation) error {
	dir, err := in.dataDir()
	if err != nil {
		return err
	}
	if err := in.checkUp(dir); err != nil {
		return err
	}
	if in.Bool("detach") {
		return in.upDetached(ctx, dir)
	}
	news := &teller{invocation: in}
	err = in.upHere(ctx, dir, news)
	news.tell(nil, err)
	return err
}

// checkUp refuses flags before anything is made, or with --fresh removed.
func (in *invocation) checkUp(dir string) error {
	for _, flag := range []string{"http", "https", "listen"} {
		if _, err := cluster.ParseAddress(flag, in.String(flag)); err != nil {
			return err
		}
	}
	if _, err := in.logLevel(); err != nil {
		return err
	}
	if _, err := in.buildLimits(); err != nil {
		return err
	}
	if _, err := in.offers(); err != nil {
		return err
	}
	return server.Config{Dir: dir, Listen: in.String("listen"), Domain: cluster.Hostname(in.String("domain")),
		RegistryAddr: in.String("registry"), BuildNetwork: in.String("build-network")}.Validate()
}

// upHere runs everything in this process until ctx ends.
func (in *invocation) upHere(ctx context.Context, dir string, news *teller) error {
	began := time.Now()
	files, err := home(in.env)
	if err != nil {
		return err
	}
	docker, err := checkEngine(ctx)
	if err != nil {
		return err
	}
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	if in.Bool("fresh") {
		if err := in.wipe(ctx, dir, keepDir); err != nil {
			return err
		}
	}
	r := &upRecord{Version: version, Domain: cluster.Hostname(in.String("domain")), Context: devContext, Data: dir, Docker: docker,
		PID: os.Getpid(), Began: beginOf(os.Getpid())}
	h, err := in.openUp(dir, r)
	if err != nil {
		return err
	}
	if err := r.write(dir); err != nil {
		return errors.Join(err, h.server.Close())
	}
	err = h.run(ctx, func(ctx context.Context) error {
		if err := h.writeContext(ctx, files, r); err != nil {
			return err
		}
		r.Ready, r.Took = true, time.Since(began)
		if err := r.write(dir); err != nil {
			return err
		}
		news.tell(r, nil)
		return nil
	})
	if ctx.Err() == nil {
		return err // not asked for: replicas go on serving, and the next start adopts them
	}
	in.out.notef("Stopping …\n")
	return errors.Join(err, in.stopContainers(dir, r))
}

// openUp chooses the ports and opens server and agent on them.
func (in *invocation) openUp(dir string, r *upRecord) (*host, error) {
	kept, err := readRecord(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if kept == nil {
		kept = &upRecord{}
	}
	for _, p := range []struct {
		flag, kept string
		to         *string
	}{{"http", kept.HTTP, &r.HTTP}, {"https", kept.HTTPS, &r.HTTPS}, {"listen", kept.Listen, &r.Listen}} {
		addr, moved, err := choosePort(in.Context, p.flag, p.kept)
		if err != nil {
			return nil, err
		}
		if moved {
			r.Notes = append(r.Notes, fmt.Sprintf("%s is %s: %s is in use by %s", p.flag, addr, in.String(p.flag), in.holder(in.String(p.flag))))
		}
		*p.to = addr
	}
	logger, err := in.logger()
	if err != nil {
		return nil, err
	}
	cfg, err := in.upConfig(dir, r, logger)
	if err != nil {
		return nil, err
	}
	offered, err := in.offers()
	if err != nil {
		return nil, err
	}
	h, err := newHost(cfg, &agent.RouterConfig{HTTP: r.HTTP, HTTPS: r.HTTPS}, withApps, offered)
	if err != nil {
		return nil, err
	}
	r.Cluster, r.Listen = h.server.ClusterID(), h.server.Addr().String()
	return h, nil
}

func (in *invocation) upConfig(dir string, r *upRecord, logger *slog.Logger) (server.Config, error) {
	exe, err := executable()
	if err != nil {
		return server.Config{}, err
	}
	http, err := cluster.ParseAddress("http", r.HTTP)
	if err != nil {
		return server.Config{}, err
	}
	https, err := cluster.ParseAddress("https", r.HTTPS)
	if err != nil {
		return server.Config{}, err
	}
	limits, err := in.buildLimits()
	if err != nil {
		return server.Config{}, err
	}
	return server.Config{Dir: dir, Alone: true, Listen: r.Listen, Domain: r.Domain, RegistryAddr: in.String("registry"), BuildNetwork: in.String("build-network"), BuildLimits: limits,
		Binary: exe, Version: version, PublicHTTP: int(http.Port()), PublicHTTPS: int(https.Port()), Logger: logger}, nil
}

// upNews is what a background process tells the one that started it.
type upNews struct {
	Ready *upRecord    `json:"ready,omitempty"`
	Error *api.Problem `json:"error,omitempty"`
}

// teller has one piece of news for who started us, and tells it once: with it the
// parent's descriptor is closed, and its number may be another file's from then on.
type teller struct {
	*invocation
	once sync.Once
}

// tell says that the host is ready, or why it is not, to a person or to the
// parent of a background process.
func (t *teller) tell(r *upRecord, err error) {
	t.once.Do(func() {
		if fd := t.Int("ready-fd"); fd > 2 {
			tellParent(fd, r, err)
		} else if r != nil {
			t.upScreen(r, "Ctrl-C")
		}
	})
}

// upScreen is what a person sees when everything runs.
func (in *invocation) upScreen(r *upRecord, stop string) {
	o := in.out
	if o.json {
		_ = o.object(r) // a closed pipe ends us by signal
		return
	}
	s := o.outStyle
	port := func(addr string) int {
		ap, err := cluster.ParseAddress("address", addr)
		if err != nil {
			return 0
		}
		return int(ap.Port())
	}
	o.printf("  %s · single process: server + agent + router + builder + git   (stop: %s)\n", s.bold("paas "+r.Version), stop)
	o.printf("  %s Docker %s reachable   %s state in %s (kept; --fresh resets)\n", s.mark(good), r.Docker, s.mark(good), tilde(r.Data, in.env("HOME")))
	o.printf("  %s ready in %s\n\n", s.mark(good), short(r.Took))
	o.printf("  Apps   %s   (http on %s redirects; paas trust makes browsers trust it)\n", appURLPattern(string(r.Domain), port(r.HTTPS)), r.HTTP)
	o.printf("  API    https://%s\n", r.Listen)
	if r.Before == "" {
		o.printf("  CLI    context %q is set; no login needed\n", r.Context)
	} else {
		o.printf("  CLI    context %q is the current one now; no login needed\n", r.Context)
		o.printf("         before it was %q; back to it: paas context use %s\n", r.Before, r.Before)
	}
	for _, note := range r.Notes {
		o.warnf("%s", note)
	}
	in.firstSteps(r)
}

// tilde shortens a path below the home directory.
func tilde(path, home string) string {
	if rest, ok := strings.CutPrefix(path, home+"/"); ok && home != "" {
		return "~/" + rest
	}
	return path
}

// stopContainers removes the cluster's containers, unless another process serves
// them; the state says how to make them again.
func (in *invocation) stopContainers(dir string, r *upRecord) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime) // the program's own context has ended
	defer cancel()
	claim, err := in.claim(dir, r.Cluster)
	if err != nil {
		return err
	}
	if claim != nil {
		defer claim.Release()
		if err := claim.Purge(ctx); err != nil {
			return fmt.Errorf("stop containers: %w", err)
		}
	}
	r.PID, r.Began, r.Ready = 0, "", false
	return r.write(dir)
}
