package server

import (
	"context"
	"crypto/sha256"
	"net"
	"time"

	"paas/api"
	"paas/cluster"
	"paas/identity"
	"paas/store"
)

const (
	defaultJoinLife = time.Hour
	maxJoinLife     = 7 * 24 * time.Hour
)

// joinService implements api.JoinService: it lets hosts in, and signs their
// certificates.
type joinService struct {
	*control
	authority *identity.Authority
}

// CreateJoin implements api.JoinService.
func (s *joinService) CreateJoin(ctx context.Context, in api.CreateJoin) (*api.NewJoin, error) {
	if s.cfg.Alone {
		return nil, cluster.Conflict("alone", "no join string is made").Because("this server runs for one host alone: it is on loopback, where no other host reaches it").
			WithHint("start it where others reach it, as the first server of a cluster: paas server --data DIR --advertise IP")
	}
	if in.Role != identity.RoleServer && in.Role != identity.RoleAgent {
		return nil, cluster.Invalid("role", "no join string is made").Because("a host joins as a server or as an agent").
			WithHint("say which: paas join create --role agent")
	}
	if in.TTL == 0 {
		in.TTL = defaultJoinLife
	}
	if in.TTL < time.Minute || in.TTL > maxJoinLife {
		return nil, cluster.Invalid("ttl", "a join string cannot last %s", inDays(in.TTL)).Because("it lasts 1 minute to 7 days").
			WithHint("name another time: paas join create --ttl 1d")
	}
	return s.create(ctx, in)
}

// create draws a join string's secret and stores its hash.
func (s *joinService) create(ctx context.Context, in api.CreateJoin) (*api.NewJoin, error) {
	id, secret, hash := identity.NewJoinSecret()
	by := s.by(ctx)
	j := cluster.Join{ID: id, Hash: hash, Server: in.Role == identity.RoleServer, CreatedAt: by.At, CreatedBy: by.Actor, ExpiresAt: by.At.Add(in.TTL)}
	if _, err := s.store.Propose(ctx, store.CreateJoin{By: by, Join: j}); err != nil {
		return nil, err
	}
	text := identity.JoinString{Addresses: s.servers(), Fingerprint: s.authority.Fingerprint(), ID: id, Secret: secret}
	return &api.NewJoin{Join: j, Text: text.Reveal()}, nil
}

// servers are the addresses of this server and of up to four others: any of them
// lets a host in, and one may be down just then.
func (s *joinService) servers() []string {
	const most = 5
	all := []string{s.public}
	for n := range s.store.State().Nodes() {
		if n.Server && n.ID != s.self && n.Address != "" && n.State == cluster.NodeUp && len(all) < most {
			all = append(all, n.Address)
		}
	}
	return all
}

// Joins implements api.JoinService.
func (s *joinService) Joins(ctx context.Context) ([]cluster.Join, error) {
	st, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	out := []cluster.Join{}
	for j := range st.Joins() {
		out = append(out, *j)
	}
	return out, nil
}

// RevokeJoin implements api.JoinService.
func (s *joinService) RevokeJoin(ctx context.Context, id cluster.TokenID) error {
	_, err := s.store.Propose(ctx, store.RevokeJoin{By: s.by(ctx), ID: id})
	return err
}

// noJoin's secret is compared with when the ID is unknown, so that known and
// unknown IDs take the same time.
func noJoin() *cluster.Join { return &cluster.Join{Hash: make([]byte, sha256.Size)} }

// Join implements api.JoinService. Who does not hold the secret learns nothing but
// that; who does is told what is wrong.
func (s *joinService) Join(ctx context.Context, in api.JoinRequest) (*api.Joined, error) {
	if err := s.awaitState(ctx); err != nil {
		return nil, err
	}
	j, err := s.store.State().Join(in.ID)
	if err != nil {
		j = noJoin()
	}
	if !identity.JoinMatches(j, in.Secret) {
		return nil, cluster.Errorf(cluster.KindUnauthenticated, "join", "the join string is not good").
			Because("it is unknown, revoked or long expired").WithHint("make another one on a server: paas join create")
	}
	key, err := identity.RequestKey(in.CSR)
	if err != nil {
		return nil, err
	}
	n, err := joining(in)
	if err != nil {
		return nil, err
	}
	if err := s.addressTaken(j, n.Address); err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	out, err := s.store.Propose(ctx, store.RedeemJoin{By: store.By{Actor: "join " + string(j.ID), At: now}, ID: j.ID, Key: key, Node: n})
	if err != nil {
		return nil, err
	}
	chain, err := s.authority.SignNode(in.CSR, out.Node, in.Role, certificateIPs(in), now)
	if err != nil {
		return nil, err
	}
	s.log.Info("host joined", "node", string(out.Node), "name", in.Name, "role", in.Role.String())
	st := s.store.State()
	return &api.Joined{Node: out.Node, Chain: string(chain), Cluster: st.Settings().ID, Domain: st.Settings().Domain, Roster: *st.Roster()}, nil
}

// addressTaken refuses a host that would be looked for where another one lives: it would
// be in the cluster, and reached by nobody. Who joined with j already may ask again.
func (s *joinService) addressTaken(j *cluster.Join, address string) error {
	if address == "" || j.Used() {
		return nil
	}
	for n := range s.store.State().Nodes() {
		if n.Address == address && (n.State == cluster.NodeUp || n.ID == s.self) {
			return cluster.Conflict("address_taken", "this host does not join the cluster").Because("%s is the address of node %s, which is up", address, n.Name).
				WithHint("give the address of this host that all others reach: --advertise IP; the join string is still good\nif this host was node " + n.Name + " until a moment ago, try again in some seconds")
		}
	}
	return nil
}

// renew signs an agent's next certificate: for the node and the role that the session's
// certificate says, and for no node that the cluster does not know. Servers have the
// authority's key and renew their own.
func (s *joinService) renew(ctx context.Context, node api.Peer, csr []byte) ([]byte, error) {
	st, err := s.store.Read(ctx)
	if err != nil {
		return nil, err
	}
	n, err := st.Node(node.ID)
	if err != nil {
		return nil, err
	}
	if node.Role != identity.RoleAgent || n.Server {
		return nil, cluster.Errorf(cluster.KindForbidden, "role", "node %s gets no certificate", n.Name).Because("only an agent is given one here, as the agent that it is")
	}
	return s.authority.SignNode(csr, n.ID, identity.RoleAgent, nil, time.Now())
}

// joining is the record of the host that asks. Its ID is drawn here: nobody joins
// as somebody.
func joining(in api.JoinRequest) (cluster.Node, error) {
	if in.Role != identity.RoleServer && in.Role != identity.RoleAgent {
		return cluster.Node{}, cluster.Invalid("role", "a host joins as a server or as an agent")
	}
	if in.Address != "" {
		if _, err := cluster.ParseAddress("address", in.Address); err != nil {
			return cluster.Node{}, err
		}
	}
	return cluster.Node{ID: cluster.NodeID(identity.NewID()), Name: in.Name, Zone: in.Zone, Address: in.Address, Server: in.Role == identity.RoleServer,
		Router: in.Router, Apps: in.Apps, Labels: in.Labels}, nil
}

// certificateIPs are the addresses in a server's certificate, loopback among them.
func certificateIPs(in api.JoinRequest) []net.IP {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, ip := range in.IPs {
		if ip.IsValid() {
			ips = append(ips, net.IP(ip.WithZone("").AsSlice()))
		}
	}
	return ips
}

// first makes the join strings of a cluster that is one host alone, one for a server
// and one for an agent; nil when there are more hosts already, or never will be.
func (s *joinService) first(ctx context.Context) (forServer, forAgent *api.NewJoin, err error) {
	if s.cfg.Alone {
		return nil, nil, nil
	}
	st, err := s.store.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	for n := range st.Nodes() {
		if n.ID != s.self {
			return nil, nil, nil
		}
	}
	for j := range st.Joins() {
		if !j.Used() && j.CreatedBy == platform().Actor { // shown by a start before this one
			if err := s.RevokeJoin(ctx, j.ID); err != nil {
				return nil, nil, err
			}
		}
	}
	if forServer, err = s.create(ctx, api.CreateJoin{Role: identity.RoleServer, TTL: defaultJoinLife}); err != nil {
		return nil, nil, err
	}
	forAgent, err = s.create(ctx, api.CreateJoin{Role: identity.RoleAgent, TTL: defaultJoinLife})
	return forServer, forAgent, err
}
