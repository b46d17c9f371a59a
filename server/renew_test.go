package server

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"paas/identity"
)

// TestCertificateIsRenewed: at two thirds of its life, and in the file too, so that
// the next start has it.
func TestCertificateIsRenewed(t *testing.T) {
	l := layout{t.TempDir()}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		trust, err := openTrust(l, "localhost", sans{}, began)
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{control: &control{log: slog.New(slog.DiscardHandler), layout: l}, trust: trust}
		s.node.Store(trust.node)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.renew(ctx) }()
		time.Sleep(19 * 24 * time.Hour)
		if s.Node() != trust.node {
			t.Errorf("renewed after 19 of 30 days")
		}
		for range 3 { // each is renewed by the same rule
			time.Sleep(21 * 24 * time.Hour)
			if left := time.Until(s.Node().NotAfter()); left < 9*24*time.Hour {
				t.Errorf("after %s the certificate is good for %s", time.Since(began), left)
			}
		}
		saved, err := identity.LoadNode(l.node())
		if err != nil || !saved.NotAfter().Equal(s.Node().NotAfter()) || saved.ID != trust.node.ID {
			t.Errorf("saved: %v until %s, want %s: %v", saved, saved.NotAfter(), s.Node().NotAfter(), err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
