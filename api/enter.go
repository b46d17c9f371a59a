package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"paas/cluster"
	"paas/identity"
)

const (
	// enterRounds is how often all servers of a join string are asked: one that has
	// just started, or that looks for a leader, answers a second later.
	enterRounds = 3
	enterPause  = time.Second
)

// Enter asks the servers that j names, one after the other, to let the host with
// key in, and returns who it is now. It may be repeated with the same key: whoever
// joined already gets the same identity. Errors are *cluster.Error for people.
func Enter(ctx context.Context, j identity.JoinString, key *identity.Key, in JoinRequest) (*identity.Node, *Joined, error) {
	csr, err := key.Request()
	if err != nil {
		return nil, nil, err
	}
	in.ID, in.Secret, in.CSR = j.ID, j.Secret, csr
	for round := 1; ; round++ {
		joined, err := enterAny(ctx, j, in)
		if err == nil {
			n, err := entered(j, key, in, joined)
			return n, joined, err
		}
		if cluster.KindOf(err) != cluster.KindUnavailable || round == enterRounds {
			return nil, nil, err
		}
		select {
		case <-time.After(enterPause):
		case <-ctx.Done():
			return nil, nil, err
		}
	}
}

// enterAny returns the first answer of a server of the cluster, or why there is none.
func enterAny(ctx context.Context, j identity.JoinString, in JoinRequest) (*Joined, error) {
	var last error
	for _, address := range j.Addresses {
		joined, err := enterAt(ctx, address, j, in)
		if err == nil {
			return joined, nil
		}
		if last = err; !elsewhere(err) {
			return nil, err
		}
	}
	return nil, last
}

// elsewhere reports whether another server may say something else.
func elsewhere(err error) bool {
	var e *cluster.Error
	return errors.As(err, &e) && (e.Kind == cluster.KindUnavailable || e.Code == identity.CodeStranger)
}

func enterAt(ctx context.Context, address string, j identity.JoinString, in JoinRequest) (*Joined, error) {
	c, err := NewClient(ClientConfig{URL: "https://" + address, TLS: j.ClientConfig()})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	joined, err := c.Join(ctx, in)
	var e *cluster.Error
	if !errors.As(err, &e) {
		return joined, err
	}
	var op *net.OpError
	if errors.As(e.Err, &op) && op.Op == "remote error" { // TLS, but none that knows us
		e.Code = "tls"
	}
	switch e.Code {
	case "unreachable", "no_answer":
		return nil, cluster.Errorf(e.Kind, e.Code, "cannot reach the server at %s", address).Because("%s", e.Reason).Wrap(e.Err).
			WithHint("see whether it runs, and whether this host may connect to that port: a firewall may be between them\nif its address has changed, make another string on it: paas join create")
	case "tls":
		return nil, cluster.Errorf(e.Kind, e.Code, "no server of the cluster answers at %s", address).Because("what answers there is something else").Wrap(e.Err).WithHint("the address in the join string leads to something else than paas; make another string on a server: paas join create")
	case identity.CodeStranger:
		return nil, e.Because("at %s: %s", address, e.Reason)
	}
	return nil, e
}

// entered checks the answer against what was asked for. The connection was the
// cluster's: what does not fit is a defect of the server, and nothing to go on with.
func entered(j identity.JoinString, key *identity.Key, in JoinRequest, joined *Joined) (*identity.Node, error) {
	n, err := key.Node([]byte(joined.Chain))
	if err != nil {
		return nil, err
	}
	if n.ID != joined.Node || n.Role != in.Role || n.AuthorityFingerprint() != j.Fingerprint {
		return nil, fmt.Errorf("join the cluster: asked to be a node of role %s, and became %s of authority %s", in.Role, n, n.AuthorityFingerprint())
	}
	if now := time.Now(); now.After(n.NotAfter()) {
		return nil, cluster.Errorf(cluster.KindUnavailable, "clock", "the certificate of this host is not good now").
			Because("it ends at %s, and the clock of this host says %s", minute(n.NotAfter()), minute(now)).
			WithHint("set this host's clock: sudo timedatectl set-ntp true")
	}
	return n, joined.Cluster.Validate()
}
