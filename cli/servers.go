package cli

import (
	"net/netip"
	"net/url"
	"slices"

	"paas/cluster"
)

// maxFormer is how many servers that left a context remembers.
const maxFormer = 8

// remember writes down which servers t's cluster has, and from which one that is known,
// if that is news. A server that left the cluster is the context's no more, also if it
// passed on the answer that says so, as that to its own removal: the one that answered
// takes its place, or another one. Whoever cannot write it asks the one that they know.
func (s settings) remember(t *target, servers []string, from string) {
	was := t.server
	moved := t.moved(servers, from)
	if slices.Equal(t.others, servers) && !moved {
		return
	}
	t.others = servers
	_ = s.change(func(f *contextFile, _ *credentialFile) error {
		if r, ok := f.Context[t.name]; ok && r.Server == was {
			r.Server, r.Servers, r.Former = t.server, servers, t.former
			f.Context[t.name] = r
		}
		return nil
	})
}

// moved makes from t's server, or another one if from left as well, if t's own is an
// address that was one of the servers and is none any more. A name is its owner's to lead elsewhere,
// and of an address that no server ever called its own (loopback, a gateway's) nobody
// can say that it left.
func (t *target) moved(servers []string, from string) bool {
	u, err := url.Parse(t.server)
	if err != nil || t.data != "" || len(servers) == 0 || !slices.Contains(t.others, u.Host) || slices.Contains(servers, u.Host) {
		return false
	}
	if !slices.Contains(servers, from) {
		from = servers[0]
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		return false
	}
	t.former = append(slices.DeleteFunc(slices.Clone(t.former), func(o string) bool { return o == t.server }), t.server)
	t.former = t.former[max(0, len(t.former)-maxFormer):]
	u.Host = from
	t.server = u.String()
	return true
}

// remoteApp is the app of a git URL of t's cluster, at any of its servers, also one that
// left; "" if it is none.
func (t *target) remoteApp(remote string) cluster.AppName {
	for _, server := range append([]string{t.server}, t.former...) {
		if app := remoteApp(remote, server); app != "" {
			return app
		}
	}
	for _, o := range t.others {
		if app := remoteApp(remote, "https://"+o); app != "" {
			return app
		}
	}
	return ""
}

// leadsAway reports whether a git URL leads to a server that left t's cluster.
func (t *target) leadsAway(remote string) bool {
	return slices.ContainsFunc(t.former, func(server string) bool { return remoteApp(remote, server) != "" })
}
