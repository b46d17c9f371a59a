package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnyServerIsDialed covers a server that refuses, one that says nothing, and all
// of them.
func TestAnyServerIsDialed(t *testing.T) {
	refused := errors.New("refused")
	for name, c := range map[string]struct {
		addresses []string
		answers   string // "" nobody
		after     time.Duration
	}{
		"the first":               {[]string{"good", "other"}, "good", 0},
		"a refusal costs nothing": {[]string{"refuses", "refuses", "good"}, "good", 0},
		"silence costs a moment":  {[]string{"silent", "good"}, "good", otherAfter},
		"nobody":                  {[]string{"refuses", "silent"}, "", time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			conn, at, err := dialAny(ctx, func(ctx context.Context, address string) (net.Conn, error) {
				switch address {
				case "refuses":
					return nil, refused
				case "silent":
					<-ctx.Done()
					return nil, ctx.Err()
				}
				ours, theirs := net.Pipe()
				_ = theirs.Close()
				return named{ours, address}, nil
			}, c.addresses)
			if took := time.Since(began); took != c.after {
				t.Errorf("%s: after %s, want %s", name, took, c.after)
			}
			if c.answers == "" {
				if !errors.Is(err, refused) {
					t.Errorf("%s: %v", name, err)
				}
				return
			}
			if err != nil || conn.(named).name != c.answers || at != c.answers {
				t.Errorf("%s: %v, %v", name, conn, err)
			}
			_ = conn.Close()
		})
	}
}

// named is a connection to an address.
type named struct {
	net.Conn
	name string
}

// TestStrangersDoNotLearnWhereTheServersAre, with a credential or without.
func TestStrangersDoNotLearnWhereTheServersAre(t *testing.T) {
	h, _, err := NewHandler(HandlerConfig{Services: servicesOf(&fake{}), Authenticate: testAuthenticate, Logger: slog.New(slog.DiscardHandler),
		Servers: func() []string { return []string{"10.0.0.1:7443", "10.0.0.2:7443"} }})
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]string{"Bearer admin": "10.0.0.1:7443, 10.0.0.2:7443", "Bearer guess": "", "": ""} {
		r, w := httptest.NewRequest(http.MethodGet, "http://10.0.0.1:7443/v1/apps", nil), httptest.NewRecorder()
		r.Header.Set("Authorization", token)
		if h.ServeHTTP(w, r); w.Header().Get(headerServers) != want {
			t.Errorf("%q is told %q, with status %d", token, w.Header().Get(headerServers), w.Code)
		}
	}
}
