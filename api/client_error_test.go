package api

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"paas/cluster"
)

// TestWhoDoesNotAnswerIsNamed: a server is started where it is, and an agent is none.
func TestWhoDoesNotAnswerIsNamed(t *testing.T) {
	agent := httptest.NewUnstartedServer(http.NotFoundHandler())
	agent.TLS = &tls.Config{NextProtos: []string{ALPNTunnel}}
	agent.StartTLS()
	t.Cleanup(agent.Close)
	agent.TLS.NextProtos = []string{ALPNTunnel} // httptest adds its own
	for url, want := range map[string]struct{ code, hint, not string }{
		"https://127.0.0.1:1": {"unreachable", "paas up", "firewall"},
		"https://localhost:1": {"unreachable", "paas up", "firewall"},
		"https://0.0.0.0:1":   {"unreachable", "firewall", "paas up"},
		agent.URL:             {"no_server", "address of a server", "paas up"},
	} {
		c, err := NewClient(ClientConfig{URL: url, TLS: &tls.Config{InsecureSkipVerify: true}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		_, err = c.Apps(t.Context())
		var e *cluster.Error
		if !errors.As(err, &e) || e.Code != want.code || !strings.Contains(e.Hint, want.hint) || strings.Contains(e.Hint, want.not) {
			t.Errorf("%s: %v (%+v)", url, err, e)
		}
	}
}
