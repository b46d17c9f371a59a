package store

import (
	"bytes"
	"testing"
	"time"

	"paas/cluster"
)

// join is a join string for an agent that is good until so many seconds after the epoch.
func join(id cluster.TokenID, until int) cluster.Join {
	return cluster.Join{ID: id, Hash: bytes.Repeat([]byte{7}, 32), ExpiresAt: by(until).At}
}

// redeem asks n seconds after the epoch to become node, with the key of that number.
func redeem(n int, id cluster.TokenID, key byte, node cluster.NodeID) RedeemJoin {
	return RedeemJoin{By: by(n), ID: id, Key: bytes.Repeat([]byte{key}, 32), Node: cluster.Node{ID: node, Name: "host", Zone: "b", Apps: true}}
}

const joinA, joinB = cluster.TokenID("000000000001"), cluster.TokenID("000000000002")

func TestJoinStringIsGoodForOneHost(t *testing.T) {
	r := withApp(t)
	r.must(CreateJoin{By: by(1), Join: join(joinA, 3600)})
	if out := r.must(redeem(2, joinA, 1, nodeB)); out.Node != nodeB {
		t.Fatalf("joined as %q, want %q", out.Node, nodeB)
	}
	n, err := r.state.Node(nodeB)
	if err != nil || n.State != cluster.NodeUnknown || n.Zone != "b" || n.Server || !n.CreatedAt.Equal(by(2).At) {
		t.Fatalf("node after the join: %+v, %v", n, err)
	}
	// The answer was lost: the same key is answered again, whatever ID was drawn, even
	// when the string has expired meanwhile.
	for _, at := range []int{3, 3601} {
		if out := r.same(redeem(at, joinA, 1, "cccccccccccccccc")); out.Node != nodeB {
			t.Errorf("the same key got node %q, want %q again", out.Node, nodeB)
		}
	}
	r.refuse(redeem(4, joinA, 2, "cccccccccccccccc"), cluster.KindUnauthenticated, "join")
}

func TestJoinStringIsRefused(t *testing.T) {
	r := withApp(t)
	server := join(joinB, 3600)
	server.Server = true
	r.must(CreateJoin{By: by(1), Join: join(joinA, 60)}, CreateJoin{By: by(1), Join: server})
	asServer := redeem(2, joinA, 1, nodeB)
	asServer.Node.Server = true
	noKey := redeem(2, joinA, 1, nodeB)
	noKey.Key = nil
	badZone := redeem(2, joinA, 1, nodeB)
	badZone.Node.Zone = "No Zone"
	r.refuse(asServer, cluster.KindForbidden, "join_role")
	r.refuse(redeem(2, joinB, 1, nodeB), cluster.KindForbidden, "join_role")
	r.refuse(noKey, cluster.KindInvalid, "key")
	r.refuse(badZone, cluster.KindInvalid, "zone")
	r.refuse(redeem(2, "00000000000f", 1, nodeB), cluster.KindUnauthenticated, "join")
	r.refuse(redeem(60, joinA, 1, nodeB), cluster.KindUnauthenticated, "join")
	r.must(RevokeJoin{By: by(3), ID: joinA})
	r.refuse(redeem(4, joinA, 1, nodeB), cluster.KindUnauthenticated, "join")
	r.refuse(RevokeJoin{By: by(5), ID: joinA}, cluster.KindNotFound, "join")
	r.refuse(CreateJoin{By: by(6), Join: server}, cluster.KindConflict, "join_exists")
	r.refuse(CreateJoin{By: by(6), Join: join(joinA, 6)}, cluster.KindInvalid, "expires_at")
	r.refuse(CreateJoin{By: by(6), Join: cluster.Join{ID: joinA, ExpiresAt: by(60).At}}, cluster.KindInvalid, "join")
}

func TestJoinCannotTakeANodesIdentity(t *testing.T) {
	r := withApp(t)
	r.withNode(nodeA)
	r.must(CreateJoin{By: by(1), Join: join(joinA, 60)})
	r.refuse(redeem(2, joinA, 1, nodeA), cluster.KindConflict, "node_exists")
	r.must(RemoveNode{By: by(3), ID: nodeA, Until: by(100).At})
	r.refuse(redeem(4, joinA, 1, nodeA), cluster.KindConflict, "node_exists")
}

func TestRemovedNodeStaysOutUntilItsCertificateEnds(t *testing.T) {
	r := withApp(t)
	r.must(CreateJoin{By: by(1), Join: join(joinA, 3600)}, redeem(2, joinA, 1, nodeB), RemoveNode{By: by(3), ID: nodeB, Until: by(7200).At})
	if !r.state.WasRemoved(nodeB) {
		t.Fatal("the removed node is forgotten")
	}
	r.refuse(RegisterNode{By: by(4), Node: cluster.Node{ID: nodeB, Name: "host", Zone: "b"}}, cluster.KindForbidden, "node_removed")
	r.refuse(redeem(5, joinA, 1, nodeB), cluster.KindUnauthenticated, "join")
	r.refuse(RemoveNode{By: by(6), ID: nodeB}, cluster.KindNotFound, "node")
	after := 7201 + int(joinKept/time.Second)
	r.must(CreateJoin{By: by(after), Join: join(joinB, after+60)})
	if r.state.WasRemoved(nodeB) {
		t.Error("the removed node is remembered when its certificate is over")
	}
	if _, err := r.state.Join(joinA); err == nil {
		t.Error("a join string is remembered a day after its end")
	}
}

func TestNodeThatRunsSomethingIsNotRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		before Command
		remove RemoveNode
	}{
		"forced": {SetNodeState{By: by(9), ID: nodeA, State: cluster.NodeUp}, RemoveNode{By: by(10), ID: nodeA, Force: true}},
		"down":   {SetNodeState{By: by(9), ID: nodeA, State: cluster.NodeDown}, RemoveNode{By: by(10), ID: nodeA}},
	} {
		t.Run(name, func(t *testing.T) {
			r := withApp(t)
			r.withNode(nodeA)
			r.deploy(1, cluster.DeploymentSucceeded)
			r.must(ApplyPlan{By: by(5), Plan: cluster.Plan{Place: []cluster.Placement{web(1, 1)}}})
			r.refuse(RemoveNode{By: by(6), ID: nodeA}, cluster.KindConflict, "node_busy")
			r.must(c.before, c.remove)
			if len(r.state.AllocationsOn(nodeA)) != 1 {
				t.Error("what ran on it must stay in the state until it is replaced")
			}
		})
	}
}

func TestTheLastServerIsNotRemoved(t *testing.T) {
	r := withApp(t)
	r.must(RegisterNode{By: by(1), Node: cluster.Node{ID: nodeA, Name: "a", Zone: "a", Server: true}})
	r.must(RegisterNode{By: by(1), Node: cluster.Node{ID: nodeB, Name: "b", Zone: "a", Server: true}})
	r.must(RemoveNode{By: by(2), ID: nodeA, Until: by(9).At})
	r.refuse(RemoveNode{By: by(3), ID: nodeB, Force: true}, cluster.KindConflict, "last_server")
}

// A state of before there were join strings is read as one without any.
func TestSnapshotOfAnOlderVersionIsRead(t *testing.T) {
	r := withApp(t)
	var file []any
	if err := decoding.Unmarshal(r.bytes(), &file); err != nil {
		t.Fatal(err)
	}
	tables := file[1].(map[any]any)
	delete(tables, "joins")
	delete(tables, "removed")
	old, err := encoding.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSnapshot(bytes.NewReader(old))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stateBytes(t, s), r.bytes()) {
		t.Error("the older snapshot became another state")
	}
}
