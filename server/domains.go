package server

import (
	"context"
	"strings"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// domainService implements api.DomainService.
type domainService struct{ *control }

// Domains implements api.DomainService.
func (s *domainService) Domains(ctx context.Context, name cluster.AppName) ([]api.DomainInfo, error) {
	st, app, err := s.app(ctx, name)
	if err != nil {
		return nil, err
	}
	out := []api.DomainInfo{s.info(cluster.Domain{Host: st.Settings().Host(name), App: name, CreatedAt: app.CreatedAt, CreatedBy: app.CreatedBy})}
	out[0].Default = true
	for d := range st.Domains() {
		if d.App == name {
			out = append(out, s.info(*d))
		}
	}
	return out, nil
}

func (s *domainService) info(d cluster.Domain) api.DomainInfo {
	in := api.DomainInfo{Domain: d, TLS: "acme"}
	if d.Host.Private() || s.cfg.ACME.Directory == "" {
		in.TLS = "internal"
	}
	return in
}

// AddDomain implements api.DomainService.
func (s *domainService) AddDomain(ctx context.Context, name cluster.AppName, in api.AddDomain) (*api.DomainInfo, error) {
	host := cluster.Hostname(strings.TrimSuffix(strings.ToLower(string(in.Host)), "."))
	if err := host.Validate(); err != nil {
		return nil, err
	}
	st, _, err := s.app(ctx, name)
	if err != nil {
		return nil, err
	}
	// One label under the apps' domain is, or may become, another app's own name.
	label, under := strings.CutSuffix(string(host), "."+string(st.Settings().Domain))
	if host == st.Settings().Domain || (under && !strings.Contains(label, ".")) {
		return nil, cluster.Conflict("domain_reserved", "host name %s cannot be added", host).
			Because("names directly under %s belong to the apps of that name", st.Settings().Domain)
	}
	if _, err := s.store.Propose(ctx, store.AddDomain{By: s.by(ctx), Host: host, App: name}); err != nil {
		return nil, err
	}
	d, err := s.store.State().Domain(host)
	if err != nil {
		return nil, err
	}
	info := s.info(*d)
	return &info, nil
}

// RemoveDomain implements api.DomainService.
func (s *domainService) RemoveDomain(ctx context.Context, name cluster.AppName, host cluster.Hostname) error {
	st, _, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	host = cluster.Hostname(strings.TrimSuffix(strings.ToLower(string(host)), "."))
	if host == st.Settings().Host(name) {
		return cluster.Conflict("domain_default", "host name %s cannot be removed", host).Because("it is the app's own")
	}
	if d, err := st.Domain(host); err != nil || d.App != name {
		return cluster.NotFound("domain", "app %s has no host name %.60q", name, host).WithHint("list them with: paas domains -a " + string(name))
	}
	_, err = s.store.Propose(ctx, store.RemoveDomain{By: s.by(ctx), Host: host, App: name})
	return err
}
