package agent

import (
	"context"
	"errors"
	"os"
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
		if _, err := NewClaim(id, "/srv/copy"); !errors.As(err, &held) || *held != (ClaimedError{id, os.Getpid(), "/srv/first"}) {
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
