package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"paas/cluster"
)

// CodeNoLeader is the code of the error of a server that knows nobody who leads. It
// did not look at the request.
const CodeNoLeader = "no_leader"

// findTime bounds the search for a server that knows a leader.
const findTime = 2 * time.Second

func leaderless(err error) bool {
	var e *cluster.Error
	return errors.As(err, &e) && e.Code == CodeNoLeader
}

// ledElsewhere reports whether err says that the server that was asked knows no leader,
// and another one does: the first may be cut off from the others, or removed. From now
// on that one is asked first.
func (c *Client) ledElsewhere(ctx context.Context, err error) bool {
	if !leaderless(err) || len(c.config.Others) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	found := make(chan string, len(c.config.Others)) // each sends one
	for _, address := range c.config.Others {
		go func() {
			if !c.led(ctx, address) {
				address = ""
			}
			found <- address
		}()
	}
	for range c.config.Others {
		if address := <-found; address != "" {
			c.way.lead(address)
			c.Close() // what is idle leads to the one that was asked
			return true
		}
	}
	return false
}

// led reports whether the server at address knows a leader.
func (c *Client) led(ctx context.Context, address string) bool {
	st, err := c.StatusOf(ctx, address)
	return err == nil && st.Leader != ""
}

// StatusOf is what the server at address, host:port, knows by itself, whoever leads.
func (c *Client) StatusOf(ctx context.Context, address string) (*ClusterStatus, error) {
	cfg := c.config
	cfg.URL, cfg.Others, cfg.Learned, cfg.LastKnown, cfg.Stale = "https://"+address, nil, nil, nil, true
	other, err := NewClient(cfg)
	if err != nil {
		return nil, err
	}
	defer other.Close()
	return other.Status(ctx)
}

// lastKnown asks again what met err, of one server alone, if its caller takes what that
// knew last.
func (c *Client) lastKnown(ctx context.Context, q request, err error) (*http.Response, error) {
	if c.config.LastKnown == nil || !leaderless(err) || q.method != "" && q.method != http.MethodGet {
		return nil, err
	}
	q.stale = true
	res, staleErr := c.openOnce(ctx, q)
	if staleErr != nil {
		return nil, err
	}
	c.config.LastKnown(err)
	return res, nil
}
