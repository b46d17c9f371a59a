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
		return nil, reserved(st, name, host, label)
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

// reserved is for the apps' own names, and for the domain that these are under.
func reserved(st *cluster.State, name cluster.AppName, host cluster.Hostname, label string) error {
	e := cluster.Conflict("domain_reserved", "host name %s cannot be added", host).
		Because("names directly under %s belong to the apps of that name", st.Settings().Domain)
	switch {
	case host == st.Settings().Host(name):
		return e.Because("it is the app's own, and leads to it already").WithHint("see: paas domains -a " + string(name))
	case host != st.Settings().Domain && cluster.AppName(label).Validate() == nil:
		return e.WithHint("make an app of that name: paas apps create " + label + "\nor put another part in front: paas domains add www." + string(host) + " -a " + string(name))
	}
	return e.WithHint("put more in front: paas domains add www." + string(name) + "." + string(st.Settings().Domain) + " -a " + string(name))
}

// RemoveDomain implements api.DomainService.
func (s *domainService) RemoveDomain(ctx context.Context, name cluster.AppName, host cluster.Hostname) error {
	st, _, err := s.app(ctx, name)
	if err != nil {
		return err
	}
	host = cluster.Hostname(strings.TrimSuffix(strings.ToLower(string(host)), "."))
	if host == st.Settings().Host(name) {
		return cluster.Conflict("domain_default", "host name %s cannot be removed", host).Because("it is the app's own").
			WithHint("add others beside it: paas domains add HOST -a " + string(name))
	}
	if d, err := st.Domain(host); err != nil || d.App != name {
		return noDomain(st, name, host)
	}
	_, err = s.store.Propose(ctx, store.RemoveDomain{By: s.by(ctx), Host: host, App: name})
	return err
}

// noDomain does not say whether another app has the host name.
func noDomain(st *cluster.State, name cluster.AppName, host cluster.Hostname) error {
	e := cluster.NotFound("domain", "app %s has no host name %.60q", name, host)
	var names []string
	for d := range st.Domains() {
		if d.App == name {
			names = append(names, string(d.Host))
		}
	}
	if near := cluster.Nearest(string(host), names); len(near) > 0 {
		return e.WithHint("did you mean: paas domains remove " + near[0] + " -a " + string(name))
	}
	return e.WithHint("list them with: paas domains -a " + string(name))
}
