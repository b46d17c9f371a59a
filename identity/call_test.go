package identity

import (
	"testing"
	"time"

	"paas/cluster"
)

func callers(t testing.TB) (ours, other, foreign *Node) {
	t.Helper()
	now := time.Now()
	make := func(a *Authority, role Role) *Node {
		n, err := a.NewNode(cluster.NodeID(NewID()), role, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	ca, err := NewAuthority("ours", now)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := NewAuthority("theirs", now)
	if err != nil {
		t.Fatal(err)
	}
	return make(ca, RoleServer), make(ca, RoleAgent), make(strange, RoleServer)
}

func TestOnlyHostsOfTheClusterAreHeard(t *testing.T) {
	ours, other, foreign := callers(t)
	now := time.Now()
	datagram, err := other.Call(7443, now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ours.Hear(datagram, now.Add(time.Minute))
	if want := (Call{Node: other.ID, Role: RoleAgent, Port: 7443, At: time.UnixMilli(now.UnixMilli())}); err != nil || got != want {
		t.Fatalf("heard %+v, %v", got, err)
	}
	if _, err := foreign.Hear(datagram, now); err == nil {
		t.Error("another cluster hears it")
	}
	if _, err := ours.Hear(datagram, now.Add(2*callSkew)); err == nil {
		t.Error("an old call is heard")
	}
	for i := range datagram {
		bad := append([]byte(nil), datagram...)
		bad[i] ^= 1
		if got, err := ours.Hear(bad, now); err == nil {
			t.Fatalf("with byte %d changed: %+v", i, got)
		}
		if _, err := ours.Hear(datagram[:i], now); err == nil {
			t.Fatalf("%d bytes of it are heard", i)
		}
	}
}

func FuzzHear(f *testing.F) {
	ours, other, _ := callers(f)
	datagram, err := other.Call(1, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(datagram)
	f.Add([]byte(callMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := ours.Hear(data, time.Now()); err == nil && c.Node != other.ID {
			t.Errorf("heard %+v", c)
		}
	})
}
