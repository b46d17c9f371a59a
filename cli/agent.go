package cli

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"paas/agent"
	"paas/api"
	"paas/cluster"
	"paas/identity"
)

func agentVerb() *verb {
	return &verb{name: "agent", group: groupRun, summary: "run an agent: apps of one host, and a router if you like", run: runAgent,
		about: "It stays in the foreground, for systemd. SIGTERM stops it and leaves the apps running; the next\n" +
			"start adopts them. On first start it joins a cluster; later it knows where it belongs, and starts\n" +
			"without any server.",
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` of everything that must survive a restart", EnvVars: []string{"PAAS_DATA"}},
			&cli.StringFlag{Name: "advertise", Usage: "`IP` that others reach this host at; that towards the servers if it is not given", EnvVars: []string{"PAAS_ADVERTISE"}},
			&cli.StringFlag{Name: "zone", Usage: "`ZONE` that fails as one: rack, building, provider's zone", Value: "default", EnvVars: []string{"PAAS_ZONE"}},
			joinFlag(),
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the host, instead of its own"},
			&cli.StringSliceFlag{Name: "label", Usage: "`KEY=VALUE` that placement may ask for; may be repeated"},
			&cli.BoolFlag{Name: "router", Usage: "run a router here, too"},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` of the port between hosts", Value: ":7443"},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` of the router's plain HTTP, which redirects", Value: ":80"},
			&cli.StringFlag{Name: "https", Usage: "`ADDRESS` of the router's HTTPS", Value: ":443"},
			&cli.StringFlag{Name: "offer", Usage: "more TCP `PORTS` of this host that apps may reach, with commas between"},
		}, logFlags("info")...),
		examples: []string{"paas agent --data /var/lib/paas --advertise 192.0.2.20 --zone b --join 'paas://…'",
			"paas agent --data /var/lib/paas --router --label disk=ssd"}}
}

// agentSettings is what flags say of an agent's host.
type agentSettings struct {
	dir       string
	listen    string // of the port between hosts
	advertise netip.Addr
	zone      string
	name      string
	labels    map[string]string
	router    *agent.RouterConfig // nil without --router
	offered   []uint16
	join      *identity.JoinString // nil without --join
}

func runAgent(ctx context.Context, in *invocation) error {
	logger, err := in.logger()
	if err != nil {
		return err
	}
	s, err := in.agentSettings()
	if err != nil {
		return err
	}
	if err := in.engineFor(ctx, s.dir); err != nil {
		return err
	}
	goFirst()
	lock, err := lockData(s.dir)
	if err != nil {
		return err
	}
	defer lock.release()
	m, err := in.joinAgent(ctx, s)
	if err != nil {
		return err
	}
	a, err := s.newAgent(m, logger)
	if err != nil {
		return err
	}
	err = runReady(ctx, a, func() error { return notify(in.env, "READY=1") })
	_ = notify(in.env, "STOPPING=1") // systemd sees the end itself
	return err
}

// runReady runs a until ctx ends, and calls ready once when it works.
func runReady(ctx context.Context, a *agent.Agent, ready func() error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Run(ctx) })
	g.Go(func() error {
		select {
		case <-a.Ready():
			return ready()
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// agentSettings reads the flags.
func (in *invocation) agentSettings() (agentSettings, error) {
	s := agentSettings{zone: in.String("zone"), name: in.String("name")}
	var err error
	if s.dir, err = in.agentDir(); err != nil {
		return s, err
	}
	if s.offered, err = in.offers(); err != nil {
		return s, err
	}
	if s.join, err = in.joinString(); err != nil {
		return s, err
	}
	if s.labels, err = hostLabels(in.StringSlice("label")); err != nil {
		return s, err
	}
	if err := cluster.ValidateLabel("zone", s.zone); err != nil {
		return s, err
	}
	if text := in.String("advertise"); text != "" {
		if s.advertise, err = netip.ParseAddr(text); err != nil {
			return s, cluster.Invalid("advertise", "--advertise is not an IP address").
				WithHint("give the address that other hosts reach this one at: --advertise 192.0.2.20")
		}
		if err := checkReachable(s.advertise); err != nil {
			return s, err
		}
	}
	if s.name == "" {
		s.name = hostName()
	}
	if err := cluster.ValidateLine("node name", s.name); err != nil {
		return s, err
	}
	return s, in.agentPorts(&s)
}

// agentPorts reads where the agent listens, and sees whether it can.
func (in *invocation) agentPorts(s *agentSettings) error {
	s.listen = everywhere(in.String("listen"))
	if in.Bool("router") {
		s.router = &agent.RouterConfig{HTTP: everywhere(in.String("http")), HTTPS: everywhere(in.String("https"))}
	}
	for _, flag := range []string{"listen", "http", "https"} {
		addr := everywhere(in.String(flag))
		if _, err := cluster.ParseAddress(flag, addr); err != nil {
			return err
		}
		if flag != "listen" && s.router == nil {
			continue
		}
		if err := free(flag, addr); err != nil {
			return err
		}
	}
	return nil
}

func (in *invocation) agentDir() (string, error) {
	if in.String("data") == "" {
		return "", cluster.Invalid("data", "the data directory is missing").WithHint("name it: paas agent --data /var/lib/paas")
	}
	if err := validPath("data", in.String("data")); err != nil {
		return "", err
	}
	return filepath.Abs(in.String("data"))
}

// hostName is the host's, as far as it is fit for a node's name.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "agent"
	}
	name, _, _ = strings.Cut(name, ".")
	return strings.ToLower(name)
}

// hostLabels reads "key=value" words.
func hostLabels(words []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		if !found {
			return nil, cluster.Invalid("label", "--label %s has no value", oneLine(w)).WithHint("write it as --label disk=ssd")
		}
		if err := errors.Join(cluster.ValidateLabel("label", key), cluster.ValidateLabel("label value", value)); err != nil {
			return nil, err
		}
		labels[key] = value
	}
	return labels, nil
}

// joinAgent is the host's place in its cluster: what it joins now, if --join says so,
// or what it joined before.
func (in *invocation) joinAgent(ctx context.Context, s agentSettings) (*agent.Membership, error) {
	joins, err := in.joins(s.join, s.dir, identity.RoleAgent)
	if err != nil {
		return nil, err
	}
	if joins {
		address, err := s.address(s.join.Addresses)
		if err != nil {
			return nil, err
		}
		if err := checkJoin(s.join, address.Addr()); err != nil {
			return nil, err
		}
		in.warnElsewhere(address.Addr())
		in.out.notef("Joining the cluster of %s …\n", strings.Join(s.join.Addresses, ", "))
		r, err := agent.Join(ctx, s.dir, *s.join, api.JoinRequest{Name: s.name, Zone: s.zone, Labels: s.labels, Address: address.String(), Router: s.router != nil, Apps: true})
		if err != nil {
			return nil, err
		}
		if err := in.warnNamesake(r, s.dir); err != nil {
			return nil, err
		}
	}
	m, err := agent.LoadMembership(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cluster.Invalid("join", "the agent cannot start").Because("%s holds no place in a cluster", s.dir).
			WithHint("make a join string on a server: paas join create\nand start the agent with it: paas agent --data " + shellWord(s.dir) + " --join 'paas://…'")
	}
	if err != nil {
		return nil, err
	}
	if m.Node().Role != identity.RoleAgent {
		return nil, cluster.Conflict("role", "the agent cannot start from %s", s.dir).Because("this host is a server of a cluster there").
			WithHint("start it as what it is: paas server --data " + shellWord(s.dir))
	}
	return m, nil
}

// address is that of the host's port between hosts, as others reach it.
func (s agentSettings) address(servers []string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s.listen)
	if err != nil {
		return ap, err
	}
	ip := ap.Addr()
	if s.advertise.IsValid() {
		ip = s.advertise
	}
	if !ip.IsUnspecified() {
		return netip.AddrPortFrom(ip, ap.Port()), nil
	}
	for _, server := range servers {
		// Nothing is sent: the kernel only says which address it would send from.
		conn, err := net.Dial("udp", server)
		if err != nil {
			continue
		}
		own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		_ = conn.Close() // it was only to see
		return netip.AddrPortFrom(own.Unmap(), ap.Port()), nil
	}
	return ap, cluster.Invalid("advertise", "it is not known how other hosts reach this one").Because("no route leads to a server").
		WithHint("say it: --advertise IP")
}

// callAddress is where hosts that lost the others are heard: nowhere if nobody else
// can reach this one.
func (s agentSettings) callAddress() string {
	if ap, err := netip.ParseAddrPort(s.listen); err != nil || ap.Addr().IsLoopback() {
		return ""
	}
	return s.listen
}

// newAgent opens the agent of a host that is in a cluster, and records it for "down"
// and "doctor".
func (s agentSettings) newAgent(m *agent.Membership, logger *slog.Logger) (*agent.Agent, error) {
	address, err := s.address(m.Servers)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, errors.Join(free("listen", s.listen), err)
	}
	a, err := agent.New(agent.Config{Dir: agentDir(s.dir), Data: s.dir, Node: m.Node, Renew: m.Renew, Cluster: m.Cluster, Name: s.name, Zone: s.zone,
		Version: version, Labels: s.labels, Address: address.String(), CallAddress: s.callAddress(), Listener: listener, Apps: true, Servers: m.Servers, Router: s.router, Offer: s.offered, Logger: logger})
	if err != nil {
		return nil, errors.Join(claimed(s.dir, err), listener.Close())
	}
	r := &upRecord{Cluster: m.Cluster, Version: version, Listen: listener.Addr().String(), Data: s.dir, PID: os.Getpid(), Began: beginOf(os.Getpid())}
	if s.router != nil {
		r.HTTP, r.HTTPS = s.router.HTTP, s.router.HTTPS
	}
	return a, r.write(s.dir)
}
