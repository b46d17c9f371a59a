package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/agent"
	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/server"
)

// letsEncrypt is where certificates come from when an operator gave an address
// for its mail and no other directory.
const letsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

func serverVerb() *verb {
	return &verb{name: "server", group: groupRun, summary: "run a server: control plane, router and apps of one host", run: runServer,
		about: "It stays in the foreground, for systemd. SIGTERM stops it and leaves the apps running; the next\n" +
			"start adopts them. On first start it prints the one command that logs the first admin in.",
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "`DIR` of everything that must survive a restart", EnvVars: []string{"PAAS_DATA"}},
			&cli.StringFlag{Name: "advertise", Usage: "`IP` that others reach this host at", EnvVars: []string{"PAAS_ADVERTISE"}},
			&cli.StringSliceFlag{Name: "tls-san", Usage: "`NAME` or IP beside it that people reach API and git at: a gateway's, a host name; may be repeated", EnvVars: []string{"PAAS_TLS_SAN"}},
			&cli.StringFlag{Name: "domain", Usage: "apps are at APP.`DOMAIN`; it counts on first start only", EnvVars: []string{"PAAS_DOMAIN"}},
			&cli.StringFlag{Name: "zone", Usage: "`ZONE` that fails as one: rack, building, provider's zone", Value: "default", EnvVars: []string{"PAAS_ZONE"}},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of the host, instead of its own"},
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` of API, git and agents", Value: ":7443"},
			&cli.StringFlag{Name: "http", Usage: "`ADDRESS` of plain HTTP, which redirects", Value: ":80"},
			&cli.StringFlag{Name: "https", Usage: "`ADDRESS` of HTTPS", Value: ":443"},
			&cli.StringFlag{Name: "registry", Usage: "loopback `ADDRESS` of the registry, instead of one that is chosen once"},
			&cli.StringFlag{Name: "acme-email", Usage: "`ADDRESS` for public certificates (Let's Encrypt)"},
			&cli.StringFlag{Name: "acme-directory", Usage: "`URL` of another certificate authority"},
			&cli.StringFlag{Name: "acme-ca", Usage: "`FILE` (PEM) that signs the directory's own TLS"},
			&cli.BoolFlag{Name: "no-apps", Usage: "run no replicas here: control plane and router only"},
			joinFlag(),
		}, append(buildFlags(), logFlags("info")...)...),
		examples: []string{"paas server --data /var/lib/paas --advertise 192.0.2.10 --domain apps.example.com --zone a --acme-email ops@example.com",
			"paas server --data /var/lib/paas --advertise 192.0.2.11 --zone b --join 'paas://…'"}}
}

func runServer(ctx context.Context, in *invocation) error {
	logger, err := in.logger()
	if err != nil {
		return err
	}
	cfg, router, err := in.serverConfig(logger)
	if err != nil {
		return err
	}
	offered, err := in.offers()
	if err != nil {
		return err
	}
	join, err := in.joinString()
	if err != nil {
		return err
	}
	if err := errors.Join(cfg.Validate(), checkAdvertised(cfg.Advertise, join)); err != nil {
		return err
	}
	apps := withApps
	if in.Bool("no-apps") {
		apps = withoutApps
	}
	if err := in.engineFor(ctx, cfg.Dir); err != nil {
		return err // images are built here even without apps
	}
	goFirst()
	lock, err := lockData(cfg.Dir)
	if err != nil {
		return err
	}
	defer lock.release()
	if err := in.joinServer(ctx, cfg, join); err != nil {
		return err
	}
	if cfg.Alone, err = alone(cfg); err != nil {
		return err
	}
	h, err := newHost(cfg, router, apps, offered)
	if err != nil {
		return err
	}
	r := &upRecord{Cluster: h.server.ClusterID(), Version: version, HTTP: router.HTTP, HTTPS: router.HTTPS, Listen: h.server.Addr().String(),
		Domain: cfg.Domain, Data: cfg.Dir, PID: os.Getpid(), Began: beginOf(os.Getpid())}
	if err := r.write(cfg.Dir); err != nil { // so that "down --purge" knows what to remove
		return errors.Join(err, h.server.Close())
	}
	err = h.run(ctx, func(ctx context.Context) error {
		if err := in.welcome(ctx, h); err != nil {
			return err
		}
		return notify(in.env, "READY=1")
	})
	_ = notify(in.env, "STOPPING=1") // systemd sees the end itself
	return err
}

// joinServer lets this host into a cluster, if --join says so and it is in none.
func (in *invocation) joinServer(ctx context.Context, cfg server.Config, j *identity.JoinString) error {
	joins, err := in.joins(j, cfg.Dir, identity.RoleServer)
	if err != nil || !joins {
		return err
	}
	ip, err := cfg.PublicIP()
	if err != nil {
		return err
	}
	if err := checkJoin(j, ip); err != nil {
		return err
	}
	if cfg.RegistryAddr != "" {
		if err := free("registry", cfg.RegistryAddr); err != nil {
			return err
		}
	}
	in.warnElsewhere(ip)
	in.out.notef("Joining the cluster of %s …\n", strings.Join(j.Addresses, ", "))
	r, err := server.Join(ctx, cfg, *j)
	if err != nil {
		return err
	}
	return in.warnNamesake(r, cfg.Dir)
}

// checkAdvertised refuses an --advertise that is good for nothing. A server that is the
// only one may be on loopback, as that of "paas up" is.
func checkAdvertised(text string, j *identity.JoinString) error {
	ip, err := netip.ParseAddr(text)
	if text == "" || err != nil || j == nil && ip.IsLoopback() {
		return nil //nolint:nilerr // server.Config.Validate says what is no address
	}
	return checkReachable(ip)
}

// alone reports whether the server was told to be where no other host reaches it. That
// is an error where there are others.
func alone(cfg server.Config) (bool, error) {
	listen, err := cluster.ParseAddress("listen", cfg.Listen)
	if err != nil {
		return false, err
	}
	ip, err := cfg.PublicIP()
	if err != nil || !ip.IsLoopback() || cfg.Advertise == "" && listen.Addr().IsUnspecified() {
		return false, err // the last: the host's network is not there yet
	}
	n, err := loadNode(cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	others, err := server.Others(cfg.Dir, n.ID)
	if err == nil && len(others) > 0 {
		err = checkReachable(ip)
	}
	return true, err
}

// serverConfig turns flags into what server and router are made of.
func (in *invocation) serverConfig(logger *slog.Logger) (server.Config, *agent.RouterConfig, error) {
	fail := func(err error) (server.Config, *agent.RouterConfig, error) { return server.Config{}, nil, err }
	if in.String("data") == "" {
		return fail(cluster.Invalid("data", "the data directory is missing").WithHint("name it: paas server --data /var/lib/paas"))
	}
	if err := validPath("data", in.String("data")); err != nil {
		return fail(err)
	}
	dir, err := filepath.Abs(in.String("data"))
	if err != nil {
		return fail(err)
	}
	exe, err := executable()
	if err != nil {
		return fail(err)
	}
	acme, err := in.acme()
	if err != nil {
		return fail(err)
	}
	limits, err := in.buildLimits()
	if err != nil {
		return fail(err)
	}
	addrs := map[string]string{}
	ports := map[string]int{}
	for _, flag := range []string{"listen", "http", "https"} {
		addrs[flag] = everywhere(in.String(flag))
		ap, err := cluster.ParseAddress(flag, addrs[flag])
		if err != nil {
			return fail(err)
		}
		if err := free(flag, addrs[flag]); err != nil {
			return fail(err)
		}
		ports[flag] = int(ap.Port())
	}
	return server.Config{Dir: dir, Listen: addrs["listen"], Advertise: in.String("advertise"), Names: lowered(in.StringSlice("tls-san")), Zone: in.String("zone"), Name: in.String("name"),
		Domain: cluster.Hostname(strings.ToLower(in.String("domain"))), RegistryAddr: in.String("registry"), BuildNetwork: in.String("build-network"), BuildLimits: limits,
		Binary: exe, Version: version, ACME: acme, PublicHTTP: ports["http"], PublicHTTPS: ports["https"], Logger: logger,
	}, &agent.RouterConfig{HTTP: addrs["http"], HTTPS: addrs["https"]}, nil
}

// lowered is names as certificates have them.
func lowered(names []string) (out []string) {
	for _, n := range names {
		out = append(out, strings.ToLower(n))
	}
	return out
}

// everywhere completes ":443" with every IPv4 address of the host; others write
// "[::]:443".
func everywhere(addr string) string {
	if strings.HasPrefix(addr, ":") {
		return "0.0.0.0" + addr
	}
	return addr
}

func (in *invocation) acme() (api.ACMESettings, error) {
	a := api.ACMESettings{Directory: in.String("acme-directory"), Email: in.String("acme-email")}
	if a.Directory == "" && a.Email != "" {
		a.Directory = letsEncrypt
	}
	if file := in.String("acme-ca"); file != "" {
		data, err := os.ReadFile(file)
		if err != nil {
			return a, cluster.Invalid("acme-ca", "%s cannot be read", file).Because("%v", err)
		}
		a.CA = string(data)
	}
	return a, nil
}

// welcome shows the first admin's login on the console, until there is an admin.
func (in *invocation) welcome(ctx context.Context, h *host) error {
	token, err := h.server.OneTimeToken(ctx)
	if err != nil || token == "" {
		return err
	}
	fingerprint, err := fingerprintOf(h.server.CAPEM())
	if err != nil {
		return err
	}
	in.out.printf("\n  Log in, once, within a day, from any machine that has paas:\n\n    paas login https://%s --ca-fingerprint %s --token %s\n\n",
		h.server.Address(), fingerprint, token)
	return in.showJoins(ctx, h)
}

// showJoins shows how other hosts join, while this one is alone.
func (in *invocation) showJoins(ctx context.Context, h *host) error {
	forServer, forAgent, err := h.server.FirstJoins(ctx)
	if err != nil || forServer == nil {
		return err
	}
	in.out.printf("  Let other hosts join, each with a string of its own (these are good once, for an hour; more: paas join create):\n\n    %s\n\n    %s\n\n",
		joinCommand(&forServer.Join, shellQuote(forServer.Text)), joinCommand(&forAgent.Join, shellQuote(forAgent.Text)))
	return nil
}

// fingerprintOf is "sha256:" and the hash of the certificate, as login takes it.
func fingerprintOf(certificate string) (string, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return "", errors.New("the authority's certificate is no PEM")
	}
	sum := sha256.Sum256(block.Bytes)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// notify tells systemd, if it started us with Type=notify (sd_notify(3)).
func notify(env func(string) string, state string) error {
	name := env("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:] // Linux's abstract namespace
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}
