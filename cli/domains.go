package cli

import (
	"context"

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
	return in.print(d, func(o *output) {
		o.done("%s is routed to %s", d.Host, in.app)
		if d.TLS != "internal" {
			o.next("point its DNS record at a router of the cluster; the certificate comes with the first visit")
		}
	})
}

func removeDomain(ctx context.Context, in *invocation) error {
	host := cluster.Hostname(in.arg(0))
	if err := in.client.RemoveDomain(ctx, in.app, host); err != nil {
		return err
	}
	return in.print(api.AddDomain{Host: host}, func(o *output) { o.done("%s is routed no more", host) })
}
