package store

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"paas/cluster"
)

// joinKept is how long a join string is remembered after its end: whoever comes
// with it late is told that it has expired, and a host that never saw the answer
// gets it again.
const joinKept = 24 * time.Hour

func (c CreateJoin) apply(d *cluster.Draft) (Outcome, error) {
	j := c.Join
	if err := j.Validate(); err != nil {
		return Outcome{}, err
	}
	if _, err := d.State().Join(j.ID); err == nil {
		return Outcome{}, cluster.Conflict("join_exists", "join string %s exists already", j.ID)
	}
	if !j.ExpiresAt.After(c.At) {
		return Outcome{}, cluster.Invalid("expires_at", "the join string would have expired already")
	}
	c.sweep(d)
	j.CreatedAt, j.CreatedBy, j.Key, j.UsedAt, j.Node = c.At, c.Actor, nil, time.Time{}, ""
	d.PutJoin(j)
	c.event(d, cluster.Event{Action: "join.created", Target: string(j.ID), Text: fmt.Sprintf("join string %s created for %s", j.ID, joiner(j.Server))})
	return Outcome{}, nil
}

// joiner names what a host becomes, with its article.
func joiner(server bool) string {
	if server {
		return "a server"
	}
	return "an agent"
}

// The host's record is made with the same command that uses up the string: there is
// no moment in which one is there without the other.
func (c RedeemJoin) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	j, err := c.redeemable(s)
	if err != nil {
		return Outcome{}, err
	}
	if j.Used() {
		return Outcome{Node: j.Node}, errUnchanged // the answer was lost: it is given again
	}
	n := c.Node
	if err := n.Validate(); err != nil {
		return Outcome{}, err
	}
	if _, err := s.Node(n.ID); err == nil || s.WasRemoved(n.ID) {
		return Outcome{}, cluster.Conflict("node_exists", "node %s exists already", n.ID)
	}
	n.State, n.StateAt, n.CreatedAt, n.Cordoned, n.Draining, n.OperatorLabels = cluster.NodeUnknown, c.At, c.At, false, false, nil
	used := *j
	used.Key, used.UsedAt, used.Node = bytes.Clone(c.Key), c.At, n.ID
	c.sweep(d)
	d.PutJoin(used)
	d.PutNode(n)
	c.event(d, cluster.Event{Action: "node.joined", Target: string(n.ID), Text: fmt.Sprintf("node %s joined in zone %s as %s, with join string %s", n.Name, n.Zone, joiner(n.Server), j.ID)})
	return Outcome{Node: n.ID}, nil
}

// redeemable is the join string, if the host with c.Key may join with it.
func (c RedeemJoin) redeemable(s *cluster.State) (*cluster.Join, error) {
	const again = "make another one on a server: paas join create"
	refused := cluster.Errorf(cluster.KindUnauthenticated, "join", "the join string is not good")
	j, err := s.Join(c.ID)
	switch {
	case len(c.Key) != 32:
		return nil, cluster.Invalid("key", "the host's key is missing")
	case err != nil:
		return nil, refused.Because("it is unknown, revoked or long expired").WithHint(again)
	case j.Server != c.Node.Server:
		return nil, cluster.Errorf(cluster.KindForbidden, "join_role", "the host cannot join as %s", joiner(c.Node.Server)).
			Because("the join string is for %s", joiner(j.Server)).
			WithHint("make the right one on a server: paas join create --role server, or --role agent")
	case j.Used() && !bytes.Equal(j.Key, c.Key):
		return nil, refused.Because("it was used by another host at %s, and is for one alone", j.UsedAt.UTC().Format(time.RFC3339)).WithHint(again)
	case j.Used() && s.WasRemoved(j.Node):
		return nil, refused.Because("the host joined with it and was removed from the cluster").WithHint(again)
	case !j.Used() && !j.ExpiresAt.After(c.At):
		return nil, refused.Because("it expired at %s", j.ExpiresAt.UTC().Format(time.RFC3339)).WithHint(again)
	}
	return j, nil
}

func (c RevokeJoin) apply(d *cluster.Draft) (Outcome, error) {
	j, err := d.State().Join(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	d.RemoveJoin(j.ID)
	c.event(d, cluster.Event{Action: "join.revoked", Target: string(j.ID), Text: fmt.Sprintf("join string %s revoked", j.ID)})
	return Outcome{}, nil
}

// sweep drops join strings and removed nodes that can mean nothing to anybody any more.
func (b By) sweep(d *cluster.Draft) {
	s := d.State()
	for j := range s.Joins() {
		if j.ExpiresAt.Add(joinKept).Before(b.At) {
			d.RemoveJoin(j.ID)
		}
	}
	for r := range s.Removed() {
		if !r.Until.IsZero() && r.Until.Before(b.At) {
			d.ForgetRemoved(r.Node)
		}
	}
}

func (c RemoveNode) apply(d *cluster.Draft) (Outcome, error) {
	s := d.State()
	n, err := s.Node(c.ID)
	if err != nil {
		return Outcome{}, err
	}
	if n.Server && !anotherServer(s, n.ID) {
		return Outcome{}, cluster.Conflict("last_server", "node %s cannot be removed", n.Name).Because("it is the only server of the cluster")
	}
	if err := c.busy(s, n); err != nil {
		return Outcome{}, err
	}
	if err := c.dataBehind(s, n); err != nil {
		return Outcome{}, err
	}
	c.sweep(d)
	d.RemoveNode(n.ID)
	d.PutRemoved(cluster.Removed{Node: n.ID, Name: n.Name, At: c.At, Until: c.Until})
	c.event(d, cluster.Event{Action: "node.removed", Target: string(n.ID), Text: fmt.Sprintf("node %s removed", n.Name)})
	return Outcome{Node: n.ID}, nil
}

// busy refuses to end what runs on a node that is up. What has a volume does not leave
// by a drain: it has to lose that first.
func (c RemoveNode) busy(s *cluster.State, n *cluster.Node) error {
	if n.State == cluster.NodeDown || c.Force {
		return nil
	}
	live := 0
	var held []string
	for _, a := range s.AllocationsOn(n.ID) {
		if !a.Live() {
			continue
		}
		live++
		if len(a.Mounts) > 0 {
			held = append(held, cluster.DetachAdvice(a.App, a.Mounts[0].Name))
		}
	}
	if live == 0 {
		return nil
	}
	hint := "move them away first: paas nodes drain " + n.Name + " --watch"
	if len(held) > 0 {
		hint = "back up the data of volumes, then " + strings.Join(held, " and ")
		if len(held) < live {
			hint += "; move the others away: paas nodes drain " + n.Name + " --watch"
		}
		hint += "; or lose all that with --force"
	}
	what := "1 replica"
	if live > 1 {
		what = fmt.Sprintf("%d replicas", live)
	}
	return cluster.Conflict("node_busy", "node %s cannot be removed yet", n.Name).Because("it runs %s", what).WithHint(hint)
}

// dataBehind refuses to leave data of volumes behind by accident: nobody in the
// cluster reaches it any more. Nothing of it is removed, with Force either.
func (c RemoveNode) dataBehind(s *cluster.State, n *cluster.Node) error {
	if c.Force {
		return nil
	}
	var names, held []string
	for v := range s.Volumes() {
		if v.Node != n.ID || !v.Written || v.Destroyed {
			continue
		}
		names = append(names, fmt.Sprintf("%s of app %s", v.Name, v.App))
		if v.Attached() {
			held = append(held, cluster.DetachAdvice(v.App, v.Name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	hint := "back up what is needed, and remove it all the same with --force; the data stays on its disk"
	if len(held) > 0 {
		hint += "\nwhat has a volume there runs nowhere else before " + strings.Join(held, " and ")
	}
	return cluster.Conflict("node_volumes", "node %s cannot be removed yet", n.Name).
		Because("it has the data of volume %s, which nobody would reach any more", strings.Join(names, ", ")).WithHint(hint)
}

// anotherServer reports whether there is a server other than that of ID id.
func anotherServer(s *cluster.State, id cluster.NodeID) bool {
	for n := range s.Nodes() {
		if n.Server && n.ID != id {
			return true
		}
	}
	return false
}
