package agent

import (
	"context"
	"errors"
	"net"
	"os"
	goruntime "runtime"
	"syscall"
	"testing"

	"paas/cluster"
	"paas/identity"
)

// TestOneClaimPerCluster: whoever comes second is told who has it, others'
// clusters are free, and what was released can be had again.
func TestOneClaimPerCluster(t *testing.T) {
	id := cluster.ClusterID(identity.NewID())
	first, err := NewClaim(id, "/srv/first")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- first.answer(ctx) }()
	for range 2 {
		var held *ClaimedError
		if _, err := NewClaim(id, "/srv/copy"); !errors.As(err, &held) || *held != (ClaimedError{id, os.Getpid(), os.Geteuid(), "/srv/first"}) {
			t.Fatalf("second claim: %v", err)
		}
	}
	other, err := NewClaim(cluster.ClusterID(identity.NewID()), "/srv/other")
	if err != nil {
		t.Fatal(err)
	}
	other.Release()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	first.Release()
	first.Release()
	again, err := NewClaim(id, "/srv/copy")
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	if _, err := NewClaim("", "/srv/first"); err == nil {
		t.Error("a claim to no cluster")
	}
}

// TestClaimsOfAHostAreListed: with who has them and where its state is.
func TestClaimsOfAHostAreListed(t *testing.T) {
	id := cluster.ClusterID(identity.NewID())
	listed := func() (all []ClaimedError) {
		for _, c := range Claims() {
			if c.Cluster == id {
				all = append(all, *c)
			}
		}
		return all
	}
	c, err := NewClaim(id, "/srv/first")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.answer(ctx) }()
	for range 2 {
		if got := listed(); len(got) != 1 || got[0] != (ClaimedError{id, os.Getpid(), os.Geteuid(), "/srv/first"}) {
			t.Errorf("a claim is listed as %+v", got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.Release()
	if got := listed(); len(got) != 0 {
		t.Errorf("a claim that was released is listed: %+v", got)
	}
}

// TestAStrangerOnTheNameKeepsNobodyFromWorking: any user of the host can take it.
func TestAStrangerOnTheNameKeepsNobodyFromWorking(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	id := cluster.ClusterID(identity.NewID())
	squatter := make(chan *net.UnixListener)
	go func() {
		goruntime.LockOSThread() // it ends with this goroutine, and with it what it became
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			t.Error(errno)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: "@paas/cluster/" + string(id)})
		if err != nil {
			t.Error(err)
		}
		squatter <- l
	}()
	l := <-squatter
	if l == nil {
		t.FailNow()
	}
	defer l.Close()
	c, err := NewClaim(id, "/srv/first")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.answer(t.Context()); err != nil {
		t.Error(err)
	}
	c.Release()
}

// TestASilentHolderIsFoundByItsProcess: the claim holds before anybody answers for it.
func TestASilentHolderIsFoundByItsProcess(t *testing.T) {
	id := cluster.ClusterID(identity.NewID())
	first, err := NewClaim(id, "/srv/first")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	var held *ClaimedError
	if _, err := NewClaim(id, "/srv/copy"); !errors.As(err, &held) || held.PID != os.Getpid() || held.Data != "" {
		t.Fatalf("second claim: %v", err)
	}
}
