package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"paas/api"
	"paas/cluster"
	"paas/identity"
)

const (
	// trustTries is how often the servers are asked for what a new one must know, once
	// it was let in; trustPause lies between.
	trustTries = 10
	trustPause = time.Second
	// maxTrust bounds the answer.
	maxTrust = 1 << 20
)

// Join makes the host a server of the cluster that j is for: it is let in, and has
// then everything in c.Dir that New needs. It may be repeated, after whatever end,
// until it returns no error, but who belongs to the cluster then. A server with c.Dir
// must not run.
func Join(ctx context.Context, c Config, j identity.JoinString) (*cluster.Roster, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	l := layout{c.Dir}
	if err := l.make(); err != nil {
		return nil, err
	}
	public, ips, err := addresses(c.Listen, c.Advertise)
	if err != nil {
		return nil, err
	}
	port, err := cluster.ParseAddress("listen", c.Listen)
	if err != nil {
		return nil, err
	}
	key, err := identity.LoadOrCreateKey(l.joinKey())
	if err != nil {
		return nil, err
	}
	in := api.JoinRequest{Role: identity.RoleServer, Name: c.Name, Zone: c.Zone, Address: netip.AddrPortFrom(public, port.Port()).String(), Router: true}
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && !a.Unmap().IsLoopback() {
			in.IPs = append(in.IPs, a.Unmap())
		}
	}
	n, joined, err := api.Enter(ctx, j, key, in)
	if err != nil {
		return nil, err
	}
	t, err := fetchTrust(ctx, n, &joined.Roster, j.Addresses)
	if err != nil {
		return nil, err
	}
	if got, err := identity.Fingerprint(t.settings.CACertificate); err != nil || got != j.Fingerprint || t.settings.ID != joined.Cluster {
		return nil, fmt.Errorf("join cluster %s: a server sent what belongs to cluster %s", joined.Cluster, t.settings.ID)
	}
	return &joined.Roster, l.admit(n, &joined.Roster, t)
}

// admit writes down who this host is now. The join's key goes last: as long as it is
// there, nothing else of this counts.
func (l layout) admit(n *identity.Node, r *cluster.Roster, t *joinTrust) error {
	roster, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode list of hosts: %w", err)
	}
	err = errors.Join(writeOnce(l.sealKey(), t.SealKey), writeOnce(l.settings(), t.Settings), writeOnce(l.roster(), roster),
		writeOnce(l.joined(), nil), n.Save(l.node()))
	if err != nil {
		return fmt.Errorf("write down what the cluster said: %w", err)
	}
	return errors.Join(os.Remove(l.joinKey()), syncDir(l.dir))
}

// settled reports that a join was begun here and has not ended: what is on the disk
// is half of something, and a server that began with it would make another cluster.
func (l layout) settled() error {
	if _, err := os.Stat(l.joinKey()); errors.Is(err, fs.ErrNotExist) {
		return l.ours()
	} else if err != nil {
		return fmt.Errorf("look at data directory: %w", err)
	}
	return cluster.Conflict("join_unfinished", "the server cannot start yet").Because("%s began to join a cluster and has not ended", l.dir).
		WithHint("repeat the command that began it: paas server --join 'paas://…'\nor name an empty directory to begin a cluster of its own: --data DIR")
}

// ours refuses a directory whose identity is an agent's.
func (l layout) ours() error {
	n, err := identity.LoadNode(l.node())
	if err != nil || n.Role == identity.RoleServer {
		return nil //nolint:nilerr // without an identity one is made, and a bad one is told about then
	}
	return cluster.Conflict("role", "the server cannot start from %s", l.dir).Because("this host is an agent of a cluster there").
		WithHint("start the agent: paas agent --data " + l.dir + "\nor name another directory: --data DIR")
}

// joinTrust is what a server must have before it starts: files as they lie on the
// others' disks.
type joinTrust struct {
	Settings []byte `json:"settings"`
	SealKey  []byte `json:"seal_key"`

	settings cluster.Settings
}

// serveTrust gives another server what it must have. The handler of the port has
// seen its certificate, and that it was not removed.
func (s *Server) serveTrust(w http.ResponseWriter, _ *http.Request) {
	settings, err := os.ReadFile(s.layout.settings())
	key, errKey := os.ReadFile(s.layout.sealKey())
	if err = errors.Join(err, errKey); err != nil {
		s.log.Error("a new server was not told the cluster's keys", "err", err)
		http.Error(w, "the keys cannot be read", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(joinTrust{Settings: settings, SealKey: key}) // who left asks again
}

// fetchTrust asks the servers, one after the other, as n.
func fetchTrust(ctx context.Context, n *identity.Node, r *cluster.Roster, also []string) (*joinTrust, error) {
	d := &api.Dialer{Node: func() *identity.Node { return n }, Addresses: func(id cluster.NodeID) []string {
		m, _ := r.Member(id)
		all := slices.DeleteFunc(slices.Concat([]string{m.Address}, also), func(a string) bool { return a == "" })
		return slices.Compact(all)
	}}
	client := &http.Client{Transport: d.Transport(api.ALPNPeer, peerDialTime)}
	defer client.CloseIdleConnections()
	var last error
	for range trustTries {
		for _, m := range r.Servers() {
			if m.ID == n.ID {
				continue
			}
			t, err := askTrust(ctx, client, m.ID)
			if err == nil {
				return t, nil
			}
			last = err
		}
		if err := pause(ctx, trustPause); err != nil {
			break
		}
	}
	return nil, cluster.Errorf(cluster.KindUnavailable, "join_keys", "this host was let in, and has not got the cluster's keys yet").
		Because("no server gave them: %v", last).WithHint("repeat the same command: the join string is still good for this host").Wrap(last)
}

func askTrust(ctx context.Context, client *http.Client, id cluster.NodeID) (*joinTrust, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+string(id)+"/trust", nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTrust))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("server %s: %s: %s", id, res.Status, strings.TrimSpace(string(bytes.ToValidUTF8(body[:min(len(body), 200)], nil))))
	}
	t := new(joinTrust)
	if err := json.Unmarshal(body, t); err != nil {
		return nil, fmt.Errorf("read keys of server %s: %w", id, err)
	}
	if err := cbor.Unmarshal(t.Settings, &t.settings); err != nil {
		return nil, fmt.Errorf("read settings of server %s: %w", id, err)
	}
	return t, nil
}
