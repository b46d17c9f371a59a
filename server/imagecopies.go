package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"paas/cluster"
)

const (
	// imageTime bounds the copy of one image to one server.
	imageTime = 30 * time.Minute
	// imagePulse is how often a server says that it is still at it, imageStall how long it
	// may be silent.
	imagePulse = time.Second
	imageStall = 10 * time.Second
	// imagePatience is how long a server that failed is asked again: it may restart.
	imagePatience = 15 * time.Second
)

// imageCopies brings images to the other servers. A release names an image only once a
// majority of the servers has it: whoever leads next can run it.
type imageCopies struct {
	*control
	images Images
	peers  *peering
}

// ensured is how a copy ended, as servers say it to each other.
type ensured struct {
	Failure string `json:"failure,omitempty"` // "" is success
}

// serveEnsure copies an image to this server. While it does, it sends blanks: who
// waits can tell a large image from a server that stands still.
func (c *imageCopies) serveEnsure(w http.ResponseWriter, r *http.Request) {
	var image cluster.Image
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&image); err != nil {
		http.Error(w, "no image", http.StatusBadRequest)
		return
	}
	done := make(chan error, 1)
	go func() { done <- c.images.Ensure(r.Context(), image) }()
	out := http.NewResponseController(w)
	pulse := time.NewTicker(imagePulse)
	defer pulse.Stop()
	for {
		select {
		case err := <-done:
			var end ensured
			if err != nil {
				end.Failure = plain(err.Error())
			}
			_ = json.NewEncoder(w).Encode(end) // who left asks again
			return
		case <-pulse.C:
			_, _ = io.WriteString(w, " ")
			_ = out.Flush()
		}
	}
}

// ensureOn copies an image to another server and waits for it.
func (c *imageCopies) ensureOn(ctx context.Context, node cluster.NodeID, image cluster.Image) error {
	body, err := json.Marshal(image)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, imageTime)
	defer cancel()
	stalled := time.AfterFunc(imageStall, cancel)
	defer stalled.Stop()
	resp, err := c.peers.ask(ctx, node, http.MethodPost, "/images/ensure", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var end ensured
	if err := json.NewDecoder(&pulsed{io.LimitReader(resp.Body, 1<<20), stalled}).Decode(&end); err != nil {
		return fmt.Errorf("server %s: the copy broke off: %w", node, err)
	}
	if end.Failure != "" {
		return &failedCopy{end.Failure}
	}
	return nil
}

// failedCopy is what a server says that could not copy an image.
type failedCopy struct{ why string }

// Error implements error.
func (f *failedCopy) Error() string { return f.why }

// pulsed puts a timer off with everything that is read.
type pulsed struct {
	io.Reader
	stalled *time.Timer
}

func (p *pulsed) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	p.stalled.Reset(imageStall)
	return n, err
}

// copied is one server's end of a copy.
type copied struct {
	node cluster.NodeID
	err  error
}

// spread copies an image of this server to the others and returns when a majority of
// those that vote has it. The rest goes on meanwhile, and gets it once a release names it.
func (c *imageCopies) spread(ctx context.Context, r *report, image cluster.Image) error {
	group := c.voters()
	if group.wanting() <= 0 {
		return nil
	}
	defer r.timed("copy")()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ends := make(chan copied, len(group.others)) // nobody waits for the last ones
	for _, id := range group.others {
		go func() { ends <- copied{id, c.insist(ctx, id, image)} }()
	}
	have, failed := 0, map[cluster.NodeID]error{}
	for have < group.wanting() {
		if len(group.others)-len(failed) < group.wanting() {
			return c.tooFew(image, have+group.self, group.all(), failed)
		}
		select {
		case end := <-ends:
			if end.err != nil {
				failed[end.node] = end.err
				continue
			}
			have++
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r.step("Image is on %d of %d servers", have+group.self, group.all())
	return nil
}

// insist is ensureOn for a server that may be about to come back.
func (c *imageCopies) insist(ctx context.Context, node cluster.NodeID, image cluster.Image) error {
	began := time.Now()
	for failures := 1; ; failures++ {
		err := c.ensureOn(ctx, node, image)
		var failed *failedCopy
		if err == nil || errors.As(err, &failed) || ctx.Err() != nil || time.Since(began) >= imagePatience {
			return err
		}
		if pause(ctx, backoff(failures)) != nil {
			return err
		}
	}
}

// tooFew says which servers did not take the image, and why.
func (c *imageCopies) tooFew(image cluster.Image, have, voters int, failed map[cluster.NodeID]error) error {
	st := c.store.State()
	var why []string
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		why = append(why, fmt.Sprintf("%s: %v", nodeName(st, id), failed[id]))
	}
	return cluster.Errorf(cluster.KindUnavailable, "image_copies", "the image is on %d of %d servers only, and nothing was released", have, voters).
		Because("%s", strings.Join(why, "; ")).
		WithHint("a release needs its image on a majority of the servers; see which are up: paas nodes, then deploy again").
		Wrap(fmt.Errorf("copy image %s@%s", image.Repository, image.Digest))
}

// imageServers are the other servers, likeliest to have an image first: the leader
// made it; after it those of this server's own zone.
func (c *control) imageServers() []cluster.NodeID {
	leader, _ := c.store.FollowLeader()
	rank := map[cluster.NodeID]int{leader: -1}
	for _, m := range c.store.State().Roster().Servers() {
		if m.ID != leader && m.Zone != c.cfg.Zone {
			rank[m.ID] = 1
		}
	}
	all := c.book.servers()
	slices.SortStableFunc(all, func(a, b cluster.NodeID) int { return cmp.Compare(rank[a], rank[b]) })
	return all
}

// holder keeps this server's images what the state says: it copies those that are
// missing and drops those that no release names. It runs on every server.
type holder struct {
	*control
	images Images
}

// Run works until ctx ends. A server that does not know yet what the others know drops
// nothing.
func (h *holder) Run(ctx context.Context) error {
	select {
	case <-h.caughtUp:
	case <-ctx.Done():
		return nil
	}
	var kept map[cluster.Image]bool // what the builder was told last
	rest := time.NewTimer(0)        // when it fires images may be dropped again
	defer rest.Stop()
	due, rested := false, false
	for {
		st := h.store.State()
		if named := namedImages(st); st.Bootstrapped() && (kept == nil || !maps.Equal(named, kept)) {
			kept, due = named, true
			h.images.Hold(named) // what is missing is copied at once
		}
		if due && rested {
			due, rested = false, false
			if err := h.images.Retain(ctx, kept); err != nil && ctx.Err() == nil {
				h.log.Warn("old images were not dropped, the builder tries again", "err", err)
			}
			rest.Reset(retainPause)
		}
		select {
		case <-h.store.Changed(st.Index()):
		case <-rest.C:
			rested = true
		case <-ctx.Done():
			return nil
		}
	}
}
