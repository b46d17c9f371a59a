package api

import (
	"context"
	"errors"
	"net"
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
