package server

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"paas/cluster"
	"paas/store"
)

// A leader whose first writes are not taken must not give up: nobody may ever
// tell it again that it leads.
func TestLeaderPreparesUntilItsWritesAreTaken(t *testing.T) {
	log := &syncBuffer{}
	c := &control{log: slog.New(slog.NewTextHandler(log, nil)), self: "00000000000000aa", tenure: newTenure()}
	var err error
	if c.store, err = store.Open(store.Config{Dir: t.TempDir(), Node: c.self}); err != nil {
		t.Fatal(err)
	}
	if err := c.store.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	l := &leader{control: c, deployer: &deployer{control: c}, fleet: newFleet(c, nil, newEvidence(), nil),
		trust: &trust{settings: cluster.Settings{ID: "00000000000000cc", Domain: "localhost"}},
		loops: []layer{{"work", func(ctx context.Context) error { close(ran); <-ctx.Done(); return nil }}}}
	ctx, cancel := context.WithCancel(t.Context())
	served, stopped := make(chan error, 1), make(chan error, 1)
	go func() { served <- l.serve(ctx) }()
	awaitText(t, log, "has not begun yet") // nobody takes writes
	go func() { stopped <- c.store.Run(ctx) }()
	select {
	case <-ran:
	case <-time.After(20 * time.Second):
		t.Error("the leader's work never began")
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func awaitText(t *testing.T, b *syncBuffer, want string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(b.String(), want) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %q in:\n%s", want, b)
		}
		_ = pause(t.Context(), 5*time.Millisecond)
	}
}
