package server

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"paas/cluster"
	"paas/store"
)

// roundTripper is a leader that answers as the test likes.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// leading is a control whose server leads until the test ends.
func leading(t *testing.T) *control {
	t.Helper()
	c := &control{log: slog.New(slog.DiscardHandler), self: "00000000000000aa", tenure: newTenure()}
	var err error
	if c.store, err = store.Open(store.Config{Dir: t.TempDir(), Node: c.self}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.store.Close() })
	t.Cleanup(c.tenure.begin(t.Context()))
	return c
}

// A server that does not lead may say so late, when a part of a large body is gone:
// the rest of it alone must not go to the next one.
func TestHalfABodyIsSentToNobody(t *testing.T) {
	for _, c := range []struct {
		name  string
		reads bool // the first leader a part of the body
		tries int
	}{{"said at once", false, 2}, {"said late", true, 1}} {
		tries := 0
		to := &toLeader{control: leading(t), transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			tries++
			if tries == 1 {
				if c.reads {
					_, _ = io.CopyN(io.Discard, r.Body, 10)
				}
				return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{headerNotLeading: {"1"}}, Body: http.NoBody}, nil
			}
			_, _ = io.Copy(io.Discard, r.Body)
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})}
		ctx, end := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://paas/v1/deploy", io.MultiReader(strings.NewReader("source"), strings.NewReader(" and more")))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = -1 // as a server has it
		resp, err := to.RoundTrip(req)
		if (err != nil) != c.reads || c.reads && cluster.KindOf(err) != cluster.KindUnavailable || tries != c.tries {
			t.Errorf("%s: %v, %v after %d tries", c.name, resp, err, tries)
		}
		end()
	}
}

// Between the end of a tenure and that of its loops nothing new begins here.
func TestATenureThatEndsTakesNothingNew(t *testing.T) {
	ten := newTenure()
	ctx, cancel := context.WithCancel(t.Context())
	end := ten.begin(ctx)
	if now, _ := ten.now(); now == nil {
		t.Fatal("it has not begun")
	}
	cancel()
	now, changed := ten.now()
	if now != nil {
		t.Error("it goes on")
	}
	end()
	select {
	case <-changed:
	default:
		t.Error("its end wakes nobody")
	}
}

// What is known of where a node was met goes with it, and with news of its address.
func TestBookForgetsWhoWasMet(t *testing.T) {
	b, err := openBook(t.TempDir()+"/roster.json", "1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	members := []cluster.Member{{ID: "1", Address: "10.0.0.1:7443", Server: true}, {ID: "2", Address: "10.0.0.2:7443", Server: true}, {ID: "3", Address: "10.0.0.3:7443", Server: true}}
	b.update(&cluster.Roster{Members: members})
	for _, id := range []cluster.NodeID{"2", "3"} {
		b.meet(id, "10.0.9."+string(id)+":7443")
		if got := b.addresses(id); len(got) != 2 {
			t.Fatalf("%s is at %v", id, got)
		}
	}
	b.update(&cluster.Roster{Members: members[:2], Removed: []cluster.NodeID{"3"}})
	if got := b.addresses("2"); len(got) != 2 || got[0] != "10.0.9.2:7443" {
		t.Errorf("a member is at %v", got)
	}
	if got := b.addresses("3"); len(got) != 0 {
		t.Errorf("a removed node is at %v", got)
	}
	again, err := openBook(b.path, "1", b.log)
	if err != nil || !again.refuses("3") || again.refuses("2") {
		t.Errorf("after a restart: %v", err)
	}
}
