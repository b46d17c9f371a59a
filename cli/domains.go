package cli

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"paas/api"
	"paas/cluster"
)

func domainsVerb() *verb {
	return &verb{name: "domains", group: groupChange, summary: "host names and their certificates", needs: needsApp, run: listDomains,
		examples: []string{"paas domains", "paas domains add shop.example.com"},
		verbs: []*verb{
			{name: "list", aliases: []string{"ls"}, summary: "list an app's host names", needs: needsApp, examples: []string{"paas domains list"}, run: listDomains},
			{name: "add", summary: "route a host name to an app", args: "HOST", takes: one, needs: needsApp, changes: true, run: addDomain,
				examples: []string{"paas domains add shop.example.com"}},
			{name: "remove", aliases: []string{"rm"}, summary: "end a route", args: "HOST", takes: one, needs: needsApp, changes: true, run: removeDomain,
				examples: []string{"paas domains remove shop.example.com"}},
		}}
}

func listDomains(ctx context.Context, in *invocation) error {
	list, err := in.client.Domains(ctx, in.app)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, d := range list {
			kind := "own"
			if d.Default {
				kind = "default"
			}
			rows = append(rows, []string{string(d.Host), kind, certificateText(d.TLS)})
		}
		o.table([]string{"HOST", "KIND", "CERTIFICATE"}, rows)
	})
}

func certificateText(tls string) string {
	if tls == "internal" {
		return "the cluster's own authority"
	}
	return "public (ACME)"
}

func addDomain(ctx context.Context, in *invocation) error {
	d, err := in.client.AddDomain(ctx, in.app, api.AddDomain{Host: cluster.Hostname(in.arg(0))})
	if err != nil {
		return err
	}
	s, err := in.client.Status(ctx)
	if err != nil {
		s = &api.ClusterStatus{} // what was added stays: the port is all that is not known
	}
	return in.print(d, func(o *output) {
		o.done("%s is routed to %s  %s", d.Host, in.app, hostURL(string(d.Host), s.HTTPSPort))
		for _, line := range afterAdd(d, in.target.server) {
			o.notef("  %s\n", line)
		}
	})
}

// afterAdd is what a new host name still needs: a DNS record, unless every resolver
// knows the name, and a certificate.
func afterAdd(d *api.DomainInfo, server string) []string {
	var lines []string
	if !d.Host.Private() {
		to := "the address of this cluster's router"
		if u, err := url.Parse(server); err == nil {
			if ip := net.ParseIP(u.Hostname()); ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
				to = ip.String()
			}
		}
		kind := "A or AAAA"
		if ip := net.ParseIP(to); ip != nil && ip.To4() != nil {
			kind = "A"
		} else if ip != nil {
			kind = "AAAA"
		}
		lines = append(lines, fmt.Sprintf("DNS          it needs a record: %s %s %s", d.Host, kind, to))
	}
	if d.TLS == "internal" {
		return append(lines, "Certificate  it has one of the cluster's own authority at once; paas trust makes browsers trust it"+acmeNote(d))
	}
	return append(lines, "Certificate  a public one comes with the first visit, as soon as the record leads here")
}

// acmeNote is for names that could have a public certificate.
func acmeNote(d *api.DomainInfo) string {
	if d.Host.Private() {
		return ""
	}
	return "\n               (public ones: start the server with --acme-email ADDRESS)"
}

// hostURL is where a host name answers.
func hostURL(host string, port int) string {
	if port == 0 || port == 443 {
		return "https://" + host
	}
	return fmt.Sprintf("https://%s:%d", host, port)
}

func removeDomain(ctx context.Context, in *invocation) error {
	host := cluster.Hostname(in.arg(0))
	if err := in.client.RemoveDomain(ctx, in.app, host); err != nil {
		return err
	}
	return in.print(api.AddDomain{Host: host}, func(o *output) { o.done("%s is routed no more", host) })
}
