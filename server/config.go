package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"paas/api"
	"paas/builder"
	"paas/cluster"
)

// Config describes one server.
type Config struct {
	// Dir holds everything that must survive a restart; it is made (0700) if it is missing.
	Dir string
	// Listen is the one port between hosts: API, git and sessions. Port 0 picks a free one.
	Listen string
	// Advertise is the IP address that other hosts and people reach the server at;
	// "" means Listen's, or the host's first one if Listen is for all of them.
	Advertise string
	// Names are host names and IP addresses beside the host's own that people reach the
	// server at: its certificate is good for them, too.
	Names []string
	// Alone says that no other host can join while this process runs: Raft opens no
	// door, and no join string is made ("paas up", or an address on loopback).
	Alone bool
	// Zone and Name are the host's, for people and placement; "" means "default"
	// and the host name.
	Zone, Name string
	// Domain is where apps live: NAME.DOMAIN. It counts on first start only; "" means localhost.
	Domain cluster.Hostname
	// RegistryAddr is the registry's loopback address; "" means a port that is chosen once.
	RegistryAddr string
	// BuildNetwork is the network of builds; "" means the engine's bridge.
	BuildNetwork string
	// BuildLimits bound builds; zero fields are the builder's defaults.
	BuildLimits builder.Limits
	// Binary is the path of the paas executable, which is static sites' file server
	// and git's hook; "" means the running one.
	Binary  string
	Version string
	ACME    api.ACMESettings
	// PublicHTTP and PublicHTTPS are the router's ports in URLs; 0 means 80 and 443.
	PublicHTTP, PublicHTTPS int
	Logger                  *slog.Logger

	// images replaces builder.New in tests.
	images func(builder.Config) (Images, error)
}

// Images makes and keeps images; *builder.Builder does.
type Images interface {
	Run(ctx context.Context) error
	Endpoint() cluster.RegistryEndpoint
	Build(ctx context.Context, r builder.Request) (*builder.Result, error)
	Trim(ctx context.Context) error
	ImageStore
}

// ImageStore is one server's share of the images that all servers have.
type ImageStore interface {
	// Hold says what to have: what is missing is copied from other servers.
	Hold(keep map[cluster.Image]bool)
	// Retain is Hold, and drops the rest.
	Retain(ctx context.Context, keep map[cluster.Image]bool) error
	// Ensure copies an image, if it is missing, and waits for it.
	Ensure(ctx context.Context, image cluster.Image) error
	// Contents serves other hosts.
	Contents() http.Handler
}

// complete fills in defaults and checks what a person typed.
func (c Config) complete() (Config, error) {
	if c.Dir == "" {
		return c, cluster.Invalid("data", "no data directory is given").WithHint("name one with: --data DIR")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:7443"
	}
	if c.Domain == "" {
		c.Domain = "localhost"
	}
	if c.Zone == "" {
		c.Zone = "default"
	}
	if c.Name == "" {
		c.Name = hostName()
	}
	if c.images == nil {
		c.images = func(b builder.Config) (Images, error) { return builder.New(b) }
	}
	if c.Binary == "" {
		exe, err := os.Executable()
		if err != nil {
			return c, err
		}
		c.Binary = exe
	}
	if c.PublicHTTP == 0 {
		c.PublicHTTP = 80
	}
	if c.PublicHTTPS == 0 {
		c.PublicHTTPS = 443
	}
	return c, c.check()
}

// Validate reports what in c nobody can have meant. It looks at nothing but c.
func (c Config) Validate() error {
	_, err := c.complete()
	return err
}

// PublicIP is where other hosts and people reach the server.
func (c Config) PublicIP() (netip.Addr, error) {
	ip, _, err := addresses(c.Listen, c.Advertise)
	return ip, err
}

// networkRE is what Docker Engine calls its networks.
var networkRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

func (c Config) check() error {
	if _, err := cluster.ParseAddress("listen", c.Listen); err != nil {
		return err
	}
	if c.Advertise != "" && net.ParseIP(c.Advertise) == nil {
		return cluster.Invalid("advertise", "--advertise is not an IP address").
			WithHint("give the address that other hosts reach this one at: --advertise 192.0.2.10")
	}
	for _, name := range c.Names {
		if net.ParseIP(name) == nil && cluster.Hostname(name).Validate() != nil {
			return cluster.Invalid("tls-san", "--tls-san %.80q is no host name and no IP address", name).
				WithHint("give what stands in the URL that people use: --tls-san paas.example.com")
		}
	}
	if c.Domain != "localhost" {
		if err := c.Domain.Validate(); err != nil {
			return err
		}
	}
	if c.BuildNetwork != "" && !networkRE.MatchString(c.BuildNetwork) {
		return cluster.Invalid("build_network", "--build-network %.60q names no network", c.BuildNetwork).WithHint("list them with: docker network ls")
	}
	if c.RegistryAddr != "" {
		if ap, err := cluster.ParseAddress("registry", c.RegistryAddr); err != nil {
			return err
		} else if !ap.Addr().IsLoopback() {
			return cluster.Invalid("registry", "the registry cannot listen on %s", ap).Because("it is for this host's own engine alone").
				WithHint("choose a loopback address: --registry 127.0.0.1:5000")
		}
	}
	if err := checkACME(c.ACME); err != nil {
		return err
	}
	if err := cluster.ValidateLine("node name", c.Name); err != nil {
		return err
	}
	return cluster.ValidateLabel("zone", c.Zone)
}

func checkACME(a api.ACMESettings) error {
	if a.Email != "" {
		if m, err := mail.ParseAddress(a.Email); err != nil || m.Address != a.Email {
			return cluster.Invalid("acme_email", "--acme-email %.60q is no mail address", a.Email).WithHint("write it alone: --acme-email ops@example.com")
		}
	}
	if a.Directory != "" {
		if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Hostname() == "" {
			return cluster.Invalid("acme_directory", "--acme-directory %.60q is no address", a.Directory).WithHint("it looks like https://acme.example.com/directory")
		}
	}
	return nil
}

// hostName is the host's, as far as it is fit for a node's name.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "server"
	}
	name, _, _ = strings.Cut(name, ".")
	return strings.ToLower(name)
}
