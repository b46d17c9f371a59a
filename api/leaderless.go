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

// headerPatience says how long a question may wait for a leader: its caller takes an old
// answer then.
const headerPatience = "Paas-Patience"

// briefly is what a client says there: an election takes less than a second.
const briefly = 3 * time.Second

// Patience is how long r may wait for a leader, most at most.
func Patience(r *http.Request, most time.Duration) time.Duration {
	d, err := time.ParseDuration(r.Header.Get(headerPatience))
	if err != nil || d < 0 || d > most || !safeMethod(r.Method) {
		return most
	}
	return d
}

// codeNotLeader is that of a server which found that it leads no more while it looked at
// a request, and changed nothing.
const codeNotLeader = "not_leader"

// again reports whether q, a question, is asked once more after err: the server waits for
// another leader then.
func again(q request, err error) bool {
	var e *cluster.Error
	return !q.changes() && errors.As(err, &e) && e.Code == codeNotLeader
}

// changes reports whether q is more than a question.
func (q request) changes() bool { return q.method != "" && q.method != http.MethodGet }

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
	if c.config.LastKnown == nil || !leaderless(err) || q.changes() {
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
