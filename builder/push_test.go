package builder

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/docker/docker/client"

	"paas/cluster"
)

// A registry that cannot store is the operator's to mend, not the pusher's.
func TestAFailedPushIsNoFailedBuild(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"errorDetail":{"message":"no space left on device"},"error":"no space left on device"}`)
	}))
	defer srv.Close()
	c, err := client.NewClientWithOpts(client.WithHost(strings.Replace(srv.URL, "http", "tcp", 1)), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = (&engine{c}).push(t.Context(), "127.0.0.1:5000/apps/blog:x", cluster.RegistryEndpoint{Address: "127.0.0.1:5000"})
	var e *cluster.Error
	var ended *engineError
	if !errors.As(err, &e) || e.Kind != cluster.KindUnavailable || !strings.Contains(e.Reason, "no space left") || errors.As(err, &ended) {
		t.Errorf("got %v", err)
	}
}
