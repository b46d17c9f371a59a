package cli

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"paas/agent"
	"paas/cluster"
	"paas/server"
)

// host is one machine's server and agent in one process: what "up" and "server"
// both run.
type host struct {
	server *server.Server
	agent  *agent.Agent
}

// newHost opens both. Nothing runs yet, and after an error nothing is held.
func newHost(s server.Config, router *agent.RouterConfig, apps placing, offered []uint16) (*host, error) {
	srv, err := server.New(s)
	if err != nil {
		return nil, err
	}
	a, err := agent.New(agent.Config{Dir: agentDir(s.Dir), Data: s.Dir, Node: srv.Node, Cluster: srv.ClusterID(), Name: s.Name, Zone: zoneOf(s),
		Version: s.Version, Address: srv.Address(), Apps: apps == withApps, Builds: true, Servers: []string{dialable(srv.Addr())}, Router: router, Offer: offered,
		Registry: srv.Registry, CallAddress: callAddress(s), Met: srv.Meet, Removed: srv.Dismiss, Measured: srv.Measured, Logger: s.Logger})
	if err != nil {
		return nil, errors.Join(claimed(s.Dir, err), srv.Close())
	}
	srv.ServeTunnels(a.ServeTunnel)
	return &host{srv, a}, nil
}

// callAddress is where hosts that lost the others are heard: nowhere if nobody else
// can reach this one.
func callAddress(s server.Config) string {
	ap, err := netip.ParseAddrPort(s.Listen)
	if err != nil || s.Alone || ap.Addr().IsLoopback() {
		return ""
	}
	return s.Listen
}

// claimed says for the state in dir that another process serves its cluster on
// this host, if that is what err says.
func claimed(dir string, err error) error {
	var c *agent.ClaimedError
	if !errors.As(err, &c) {
		return err
	}
	return cluster.Conflict("cluster_claimed", "cluster %s is not served from %s", c.Cluster, dir).
		Because("%s serves it on this host already; a copied or restored state is the same cluster", holder(c)).
		WithHint(stopHolder(c) + "\nor start this one on another host").Wrap(err)
}

// stopHolder says how to stop the process that has a claim.
func stopHolder(c *agent.ClaimedError) string {
	switch {
	case c.Data != "":
		return "stop it first: paas down --data " + shellWord(oneLine(c.Data))
	case c.PID != 0:
		return fmt.Sprintf("stop it first: kill %d", c.PID)
	}
	return "stop the other process first"
}

// holder names the process that has a claim. What it said of itself is no more
// than what somebody on this host said.
func holder(c *agent.ClaimedError) string {
	who := "another process"
	if c.PID != 0 {
		who = fmt.Sprintf("process %d", c.PID)
	}
	if c.Data != "" {
		who += " (state in " + oneLine(c.Data) + ")"
	}
	return who
}

// placing says whether a host runs replicas.
type placing uint8

const (
	withApps placing = iota
	withoutApps
)

func zoneOf(s server.Config) string {
	if s.Zone == "" {
		return "default"
	}
	return s.Zone
}

// dialable is a listener's address as this host reaches it.
func dialable(addr net.Addr) string {
	a, ok := addr.(*net.TCPAddr)
	if !ok || !a.IP.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
}

// run serves until ctx ends, and calls ready once when requests are answered. A server
// that was removed from the cluster ends before, and leaves the agent to do what a
// removed node's does: a process that ended would be started again and again.
func (h *host) run(ctx context.Context, ready func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := h.server.Run(ctx)
		if errors.Is(err, server.ErrRemoved) {
			if ctx.Err() == nil {
				h.agent.Fence()
			}
			<-ctx.Done()
			return nil
		}
		return err
	})
	g.Go(func() error { return h.agent.Run(ctx) })
	g.Go(func() error {
		for _, c := range []<-chan struct{}{h.server.Ready(), h.agent.Ready()} {
			select {
			case <-c:
			case <-ctx.Done():
				return nil
			}
		}
		return ready(ctx)
	})
	return g.Wait()
}

// logFlags are those of commands that log.
func logFlags(level string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-level", Usage: "`LEVEL`: debug, info, warn or error", Value: level},
		&cli.BoolFlag{Name: "log-json", Usage: "log JSON instead of text"},
	}
}

// logger writes to stderr.
func (in *invocation) logger() (*slog.Logger, error) {
	level, err := in.logLevel()
	if err != nil {
		return nil, err
	}
	opts := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(in.out.err, opts)
	if in.Bool("log-json") {
		h = slog.NewJSONHandler(in.out.err, opts)
	}
	adoptGlobalLog(h)
	return slog.New(h), nil
}

func (in *invocation) logLevel() (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(in.String("log-level"))); err != nil {
		return 0, cluster.Invalid("log-level", "--log-level %s is not known", oneLine(in.String("log-level"))).WithHint("use: debug, info, warn or error")
	}
	return level, nil
}

// adoptGlobalLog sends what libraries say through the process's global logger to
// h, at debug level: net/http's transport has no other way to speak, and any
// replica can make it ("Unsolicited response received on idle HTTP channel").
func adoptGlobalLog(h slog.Handler) {
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(h, slog.LevelDebug).Writer())
}

// executable is this program's path, as hooks and images need it.
func executable() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(exe)
}
