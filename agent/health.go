package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"paas/cluster"
)

const (
	// While a replica boots it is checked often: what has just begun to listen
	// should serve at once.
	bootCheckFirst = 100 * time.Millisecond
	bootCheckLimit = time.Second
	// settleTime is how long a replica without a port must run to be healthy.
	settleTime = time.Second
)

// prober makes one check of a replica at address. Its errors are for people.
type prober func(ctx context.Context, c cluster.Check, address string) error

// attend watches a running replica until its phase must change: an exit, the
// outcome of its checks, or the boot limit.
func (r *replica) attend(live context.Context) (happening, []string) {
	ctx, cancel := context.WithCancel(live)
	var probes sync.WaitGroup
	defer probes.Wait()
	defer cancel() // first, so that the probe ends
	check, begun := r.check(), time.Now()
	results := make(chan error, 1) // at most one probe runs
	timer := time.NewTimer(r.firstWait(check))
	defer timer.Stop()
	limit := r.bootTimer(check)
	defer limit.Stop()
	var last error
	for {
		select {
		case <-live.Done():
			return nothing, nil
		case <-r.poke:
			if h, log := r.look(live); h != nothing {
				return h, log
			}
		case <-timer.C:
			if check.Kind == cluster.CheckNone {
				return checkPassed, nil
			}
			address := r.obs.Address
			probes.Go(func() {
				once, cancel := context.WithTimeout(ctx, cmp.Or(check.Timeout, cluster.DefaultCheckTimeout))
				defer cancel()
				results <- r.probe(once, check, address)
			})
		case last = <-results:
			if h := r.judge(check, last); h != nothing {
				return h, r.evidence(live, h)
			}
			timer.Reset(r.nextWait(check, time.Since(begun)))
		case <-limit.C:
			r.obs.Reason = r.bootReason(check, last)
			return bootLimit, r.tail(live, r.obs.ContainerID)
		}
	}
}

// check is the replica's check; one without a port has nothing to be asked.
func (r *replica) check() cluster.Check {
	p := r.assignment().Process
	if p.Port == 0 {
		p.Check.Kind = cluster.CheckNone
	}
	return p.Check
}

// firstWait is the time to the first check in the current phase; a replica that
// runs without checks is only waited for to settle.
func (r *replica) firstWait(c cluster.Check) time.Duration {
	switch {
	case c.Kind == cluster.CheckNone && r.phase != phaseHealthy:
		return settleTime
	case c.Kind == cluster.CheckNone:
		return 1 << 62
	case r.phase == phaseStarting:
		return 0
	}
	return cmp.Or(c.Interval, cluster.DefaultCheckInterval)
}

// nextWait is the time to the check after one, since the phase began.
func (r *replica) nextWait(c cluster.Check, since time.Duration) time.Duration {
	if r.phase == phaseStarting {
		return min(max(bootCheckFirst, since/5), bootCheckLimit)
	}
	return cmp.Or(c.Interval, cluster.DefaultCheckInterval)
}

// bootTimer fires at the boot limit; in other phases never.
func (r *replica) bootTimer(c cluster.Check) *time.Timer {
	if r.phase == phaseStarting && c.Kind != cluster.CheckNone {
		return time.NewTimer(cmp.Or(c.Boot, cluster.DefaultBootLimit))
	}
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// judge counts a check's outcome.
func (r *replica) judge(c cluster.Check, err error) happening {
	streak := cmp.Or(c.Failures, cluster.DefaultCheckFailures)
	switch {
	case err == nil && r.phase != phaseHealthy:
		return checkPassed
	case err == nil:
		r.failures = 0
		return nothing
	case r.phase == phaseStarting:
		return nothing
	}
	r.failures++
	switch {
	case r.phase == phaseHealthy && r.failures >= streak:
		r.obs.Reason = err.Error()
		return checkFailing
	case r.phase == phaseUnhealthy && r.failures >= 2*streak && !r.obs.Ailing:
		r.obs.Reason = fmt.Sprintf("%s, %d times in a row; to be replaced", err, r.failures)
		return checkHopeless
	}
	return nothing
}

// evidence is what goes with h.
func (r *replica) evidence(ctx context.Context, h happening) []string {
	if h == checkPassed {
		return nil
	}
	return r.tail(ctx, r.obs.ContainerID)
}

// look asks the engine whether the container still runs.
func (r *replica) look(ctx context.Context) (happening, []string) {
	c, err := r.runtime.containers.Inspect(ctx, r.obs.ContainerID)
	switch {
	case errors.Is(err, errNoContainer):
		r.outside = true
		r.obs.ExitCode, r.obs.OOM, r.obs.Reason = 0, false, "its container was removed by somebody else"
		return exited, nil
	case err != nil:
		return nothing, nil // the watcher or the slow poll asks again
	case !c.Running:
		return r.exitedAs(ctx, c)
	}
	before := r.obs
	r.see(c)
	if r.obs != before {
		r.publish(nil)
	}
	return nothing, nil
}

// bootReason explains why a replica did not get healthy in time.
func (r *replica) bootReason(c cluster.Check, last error) string {
	limit := cmp.Or(c.Boot, cluster.DefaultBootLimit)
	port := r.assignment().Process.Port
	var answer *answerError
	if errors.As(last, &answer) {
		return fmt.Sprintf("%s for %gs", answer, limit.Seconds())
	}
	return cluster.NotListening(port, limit, r.listening(r.pid))
}

// answerError is a check that was answered, but not well.
type answerError struct {
	path   string
	status int
}

func (e *answerError) Error() string { return fmt.Sprintf("GET %s answered %d", e.path, e.status) }

// checkReplica is the real prober.
func checkReplica(ctx context.Context, c cluster.Check, address string) error {
	if address == "" {
		return errors.New("has no address")
	}
	if c.Kind == cluster.CheckHTTP {
		return checkHTTP(ctx, c.Path, address)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return plainDialError(err, address)
	}
	return conn.Close()
}

// checkHTTP asks once, on a connection of its own, and follows no redirect:
// where one leads is not this replica's health.
func checkHTTP(ctx context.Context, path, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("cannot ask for %s", path)
	}
	req.Header.Set("User-Agent", "paas-health/1")
	t := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	defer t.CloseIdleConnections()
	res, err := t.RoundTrip(req)
	if err != nil {
		return plainDialError(err, address)
	}
	_ = res.Body.Close() // unread on purpose: the status is the answer
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return &answerError{path, res.StatusCode}
	}
	return nil
}

// plainDialError says in people's words why address did not answer.
func plainDialError(err error, address string) error {
	_, port, _ := net.SplitHostPort(address)
	what := "port " + port
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New(what + " refuses connections")
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New(what + " did not answer in time")
	case errors.Is(err, syscall.ECONNRESET):
		return errors.New(what + " closed the connection without an answer")
	}
	return fmt.Errorf("%s: %s", what, oneLine(err.Error()))
}
