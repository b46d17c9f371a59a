package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"paas/api"
	"paas/cluster"
	"paas/store"
)

// spread returns when a majority of the servers that vote hold tips and everything
// behind them, this server included, which holds them already. What the state says
// of them from then on survives the loss of any minority.
func (c *copier) spread(ctx context.Context, app *cluster.App, tips []string) error {
	group := c.voters()
	if group.wanting() <= 0 || len(tips) == 0 {
		return nil // the others come for it by themselves
	}
	body, err := json.Marshal(copyRequest{Index: c.store.State().Index(), Born: app.CreatedAt, Tips: tips})
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, copyTime)
	defer cancel() // who is slower comes for it by itself
	answers := make(chan error, len(group.others))
	for _, id := range group.others {
		go func() { answers <- c.tell(ctx, id, app.Name, body) }()
	}
	held, errs := 0, []string{}
	for range group.others {
		if err := <-answers; err != nil {
			errs = append(errs, err.Error())
		} else {
			held++
		}
		if held >= group.wanting() {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.log.Warn("a push did not reach a majority of the servers", "app", string(app.Name), "err", strings.Join(errs, "; "))
	return cluster.Errorf(cluster.KindUnavailable, "git_copies", "the push was not kept").
		Because("%d of %d servers have to hold it, %d can", cluster.Majority(group.all()), group.all(), held+group.self).
		WithHint("see which servers run with: paas nodes; then push again")
}

// tell asks a server to hold what this one has.
func (c *copier) tell(ctx context.Context, id cluster.NodeID, app cluster.AppName, body []byte) error {
	resp, err := c.peers.ask(ctx, id, http.MethodPost, "/git/"+string(app)+"/copy", bytes.NewReader(body))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// keepPush makes the objects of a push outlive git's quarantine, which dies with the
// push, and this server.
func (g *gitServer) keepPush(ctx context.Context, app *cluster.App, repo string, in hookRequest) error {
	if in.Objects != "" { // a push of what is there already has no quarantine
		if err := keepObjects(absolute(repo, in.Objects), absolute(repo, "objects")); err != nil {
			return fmt.Errorf("keep the objects of a push: %w", err)
		}
	}
	var moves []cluster.RefMove
	for _, u := range in.Updates {
		moves = append(moves, u.move())
	}
	return g.copies.spread(ctx, app, tipsOf(moves))
}

// acknowledge makes true what the next word to the pusher may say: that refs are
// where git has moved them by now. They are on this server's disk, and in the state.
func (g *gitServer) acknowledge(ctx context.Context, app *cluster.App, p *push) error {
	granted := p.granted()
	if len(granted) == 0 {
		return nil // nothing was granted yet
	}
	if err := p.settle(); err != nil {
		return err
	}
	refs, err := g.refs(ctx, p.repo)
	if err != nil {
		return err
	}
	var moves []cluster.RefMove
	record := g.store.State().Repository(app.Name)
	for _, u := range granted {
		m := u.move()
		if refs[m.Name] == m.New && record.Hash(m.Name) != m.New { // git has moved it, or says next why not
			moves = append(moves, m)
		}
	}
	if len(moves) == 0 {
		return nil
	}
	ctx, cancel := aside(api.WithActor(ctx, p.actor))
	defer cancel()
	_, err = g.store.Propose(ctx, store.MoveRefs{By: g.by(ctx), App: app.Name, Born: app.CreatedAt, Moves: moves})
	return err
}

// adopt records the refs of a repository that is older than the record.
func (g *gitServer) adopt(ctx context.Context, app *cluster.App, repo string) error {
	refs, err := g.refs(ctx, repo)
	if err != nil {
		return err
	}
	var moves []cluster.RefMove
	for _, m := range differences(nil, recordOf(app.Name, refs), nil) {
		if err := m.Validate(); err != nil {
			g.log.Warn("a ref cannot be kept", "app", string(app.Name), "err", err)
			continue
		}
		moves = append(moves, m)
	}
	if err := g.copies.spread(ctx, app, tipsOf(moves)); err != nil {
		return err
	}
	_, err = g.store.Propose(ctx, store.MoveRefs{By: platform(), App: app.Name, Born: app.CreatedAt, Moves: moves})
	return err
}

// recordOf is the record of a repository that has refs.
func recordOf(app cluster.AppName, refs map[string]string) *cluster.Repository {
	r := cluster.Repository{App: app}
	for name, hash := range refs {
		r = r.Moved(cluster.RefMove{Name: name, New: hash})
	}
	return &r
}
