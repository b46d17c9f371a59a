package api

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestHandshakeHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		began := time.Now()
		_, err := handshake(t.Context(), tls.Server(ours, &tls.Config{MinVersion: tls.VersionTLS13}))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != handshakeTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		_ = ours.Close()
	})
}
