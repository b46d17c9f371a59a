package store

import (
	"fmt"
	"strings"

	"paas/cluster"
)

func (c AddDomain) apply(d *cluster.Draft) (Outcome, error) {
	if _, err := liveApp(d, c.App); err != nil {
		return Outcome{}, err
	}
	if err := c.Host.Validate(); err != nil {
		return Outcome{}, err
	}
	if err := c.free(d.State()); err != nil {
		return Outcome{}, err
	}
	d.PutDomain(cluster.Domain{Host: c.Host, App: c.App, CreatedAt: c.At, CreatedBy: c.Actor})
	c.event(d, cluster.Event{Action: "domain.added", App: c.App, Target: string(c.Host), Text: fmt.Sprintf("%s routed to app %s", c.Host, c.App)})
	return Outcome{}, nil
}

// free reports who has the host name already: a domain, an app's default host
// name, or the product.
func (c AddDomain) free(s *cluster.State) error {
	taken := cluster.Conflict("domain_taken", "domain %s cannot be added", c.Host)
	if x, err := s.Domain(c.Host); err == nil {
		return taken.Because("app %s has it already", x.App).WithHint(fmt.Sprintf("remove it there first: paas domains remove %s -a %s", c.Host, x.App))
	}
	domain := s.Settings().Domain
	if c.Host == domain {
		return taken.Because("it is the domain that apps live under")
	}
	label, under := strings.CutSuffix(string(c.Host), "."+string(domain))
	if !under || strings.Contains(label, ".") {
		return nil
	}
	name := cluster.AppName(label)
	switch _, err := s.App(name); {
	case name == c.App:
		return taken.Because("app %s answers there anyway", name)
	case name.Reserved():
		return taken.Because("the platform keeps it for itself")
	case err == nil:
		return taken.Because("it is the host name of app %s", name)
	}
	return nil
}

func (c RemoveDomain) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	if _, err := s.App(c.App); err != nil {
		return Outcome{}, err
	}
	x, err := s.Domain(c.Host)
	if err != nil || x.App != c.App {
		return Outcome{}, c.unknown(s)
	}
	d.RemoveDomain(c.Host)
	c.event(d, cluster.Event{Action: "domain.removed", App: c.App, Target: string(c.Host), Text: fmt.Sprintf("%s no longer routed to app %s", c.Host, c.App)})
	return Outcome{}, nil
}

// unknown does not say whether another app has the host name.
func (c RemoveDomain) unknown(s *cluster.State) error {
	e := cluster.NotFound("domain", "app %s has no domain %q", c.App, oneLine(string(c.Host)))
	if c.Host == s.Settings().Host(c.App) {
		return e.Because("it is the app's own host name, which stays")
	}
	var names []string
	for x := range s.Domains() {
		if x.App == c.App {
			names = append(names, string(x.Host))
		}
	}
	if near := cluster.Nearest(string(c.Host), names); len(near) > 0 {
		e = e.Because("nearest: %s", strings.Join(near, ", "))
	}
	return e.WithHint("list them with: paas domains -a " + string(c.App))
}
