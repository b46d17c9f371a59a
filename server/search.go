package server

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// searchAfter is how long a server waits for a leader before it looks for the
	// others: elections are over by then.
	searchAfter = time.Second
	// searchInterval is how often it looks.
	searchInterval = time.Second
)

// search looks for the other servers while nobody is known to lead, until ctx ends.
// Hosts that came back with other addresses are found this way: a server that calls
// another one tells it where it is, and learns who answers.
func (s *Server) search(ctx context.Context) error {
	for {
		id, changed := s.store.FollowLeader()
		if id != "" {
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		select {
		case <-changed:
			continue
		case <-time.After(searchAfter):
		case <-ctx.Done():
			return nil
		}
		s.callAll(ctx)
	}
}

// callAll calls every other server once, all at the same time.
func (s *Server) callAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, searchInterval)
	defer cancel()
	var calls sync.WaitGroup
	for _, id := range s.book.servers() {
		calls.Go(func() {
			resp, err := s.peers.ask(ctx, id, http.MethodGet, "/position", nil)
			if err != nil {
				s.log.Debug("server was not found", "node", string(id), "err", err)
				return
			}
			_ = resp.Body.Close() // that it answered is what counts
		})
	}
	calls.Wait()
}
