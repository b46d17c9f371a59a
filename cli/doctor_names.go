package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	lookupTimeout = 3 * time.Second
	lookedUp      = 20 // domains at most: each may take the timeout
)

// servedHost is a host name that routers should have a certificate for.
type servedHost struct {
	cluster.Hostname
	tls     string // who signs: "acme", "internal"
	routers []netip.Addr
}

// checkDomains looks whether the apps' host names lead to a router, and returns
// those that routers serve.
func checkDomains(ctx context.Context, c *api.Client, s *api.ClusterStatus) (hosts []servedHost, out []finding) {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return nil, []finding{broken("domains", err)}
	}
	apps, err := c.Apps(ctx)
	if err != nil {
		return nil, []finding{broken("domains", err)}
	}
	var routers []netip.Addr
	for _, n := range nodes {
		if at, err := netip.ParseAddrPort(n.Address); err == nil && n.Router {
			routers = append(routers, at.Addr().Unmap())
		}
	}
	wild := localName(string(s.Domain))
	for _, a := range apps {
		list, err := c.Domains(ctx, a.Name)
		if err != nil {
			return hosts, append(out, broken("domains", err))
		}
		for _, d := range list {
			if len(hosts) == lookedUp {
				return hosts, out
			}
			hosts = append(hosts, servedHost{d.Host, d.TLS, routers})
			if localName(string(d.Host)) || d.Default && wild {
				continue // one record is all apps'
			}
			record := string(d.Host)
			if d.Default {
				wild, record = true, "*."+string(s.Domain)
			}
			found, err := lookUp(ctx, string(d.Host))
			out = append(out, judgeDomain(d.Host, record, found, err, routers))
		}
	}
	return hosts, out
}

// lookUp asks for A and AAAA records.
func lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host+".")
}

// judgeDomain compares where a host name leads with where the routers are. They
// may stand behind a balancer or an address translation, so another address is
// worth knowing and no more. record is what has to stand in the DNS for host.
func judgeDomain(host cluster.Hostname, record string, found []netip.Addr, err error, routers []netip.Addr) finding {
	public := slices.DeleteFunc(slices.Clone(routers), func(a netip.Addr) bool { return a.IsLoopback() || a.IsUnspecified() })
	at, it := "the address of this cluster's router", "it"
	if record != string(host) {
		it = record
	}
	if len(public) > 0 {
		at = addresses(public)
	}
	if err != nil || len(found) == 0 {
		why := "it has no A or AAAA record"
		if err != nil {
			why = fmt.Sprint(innermost(err))
		}
		return broken("domains", cluster.Errorf(cluster.KindUnavailable, "dns", "%s leads nowhere", host).Because("%s", why).
			WithHint("add an A or AAAA record of "+record+" for "+at))
	}
	var elsewhere []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); !slices.Contains(routers, a) {
			elsewhere = append(elsewhere, a)
		}
	}
	switch len(elsewhere) {
	case 0:
		return fine("domains", "%s leads to a router", host)
	case len(found):
		return warning("domains", "if no balancer or address translation stands between, point "+it+" to "+at,
			"%s leads to %s, where no router of this cluster is known", host, addresses(elsewhere))
	}
	return warning("domains", "part of the visitors ends there: remove the records of "+record+" for "+addresses(elsewhere),
		"%s leads to a router, and to %s, where none of this cluster is known", host, addresses(elsewhere))
}

func addresses(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
