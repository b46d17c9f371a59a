package agent

import (
	"context"
	"fmt"
	"time"

	"paas/identity"
)

// renewCheck is how often the clock is compared with the certificate's: timers stand
// still while a host sleeps.
const renewCheck = time.Minute

// renewTime bounds one try.
const renewTime = 30 * time.Second

// keepCertificate replaces the host's certificate at two thirds of its life, through
// the session, until ctx ends. The session goes on; the next one uses the new one. It
// says once that it does not get one: ten days are left then.
func (a *Agent) keepCertificate(ctx context.Context) error {
	warned := false
	for pause(ctx, renewCheck) {
		n := a.config.Node()
		if time.Now().Before(n.RenewAt()) {
			continue
		}
		fresh, err := a.renewed(ctx, n)
		if err == nil {
			err = a.config.Renew(fresh)
		}
		switch {
		case err == nil:
			a.log.Info("certificate renewed", "until", fresh.NotAfter())
			warned = false
		case !warned && ctx.Err() == nil:
			a.log.Warn("certificate was not renewed; trying again every minute", "until", n.NotAfter(), "err", err)
			warned = true
		}
	}
	return nil
}

// renewed is n with a new key and a new certificate.
func (a *Agent) renewed(ctx context.Context, n *identity.Node) (*identity.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, renewTime)
	defer cancel()
	s, err := a.certificates.now()
	if err != nil {
		return nil, err
	}
	key, err := identity.NewKey()
	if err != nil {
		return nil, err
	}
	csr, err := key.Request()
	if err != nil {
		return nil, err
	}
	chain, err := s.RenewCertificate(ctx, csr)
	if err != nil {
		return nil, fmt.Errorf("renew certificate: %w", err)
	}
	return n.Renewed(key, chain)
}
