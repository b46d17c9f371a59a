package cli

import (
	"context"
	"sync"
	"time"

	"paas/api"
	"paas/cluster"
)

const (
	// turnFirst is how long a change may wait for its turn unexplained, turnAgain
	// how often it is looked for another reason then.
	turnFirst = 500 * time.Millisecond
	turnAgain = 2 * time.Second
)

// inTurn makes a change of an app's releases. The server makes them one after the
// other and answers when it is this one's turn, so what it waits for is asked
// beside it, and said. From then on --timeout bounds the wait.
func (in *invocation) inTurn(ctx context.Context, change func(context.Context) (*api.DeployResult, error)) (*api.DeployResult, error) {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	asking, answered := context.WithCancel(waiting)
	var telling sync.WaitGroup
	telling.Go(func() { in.tellTurn(asking, func() { cancel(errWaited) }) })
	res, err := change(waiting)
	answered()
	telling.Wait()
	if err != nil && context.Cause(waiting) == errWaited {
		return nil, timedOut(in.Duration("timeout"), "the change of "+string(in.app)+" was given up before its turn came",
			"see what it waited for: paas status -a "+string(in.app))
	}
	return res, err
}

// tellTurn says what a change waits for, until ctx ends; giveUp is called when
// --timeout is over meanwhile.
func (in *invocation) tellTurn(ctx context.Context, giveUp func()) {
	limit := time.NewTimer(in.Duration("timeout"))
	defer limit.Stop()
	var over <-chan time.Time // limit's, once somebody is known to be ahead
	told := ""
	for pause := turnFirst; ; pause = turnAgain {
		select {
		case <-ctx.Done():
			return
		case <-over:
			giveUp()
			return
		case <-time.After(pause):
		}
		ahead := in.ahead(ctx)
		if ahead == "" || ahead == told || ctx.Err() != nil {
			continue
		}
		if told = ahead; in.Duration("timeout") > 0 {
			over = limit.C
		}
		in.out.notef("Another deploy is in progress; waiting for %s to end …\n", ahead)
	}
}

// ahead is what the app's next change has to wait for; "" if nobody says.
func (in *invocation) ahead(ctx context.Context) string {
	if app, err := in.client.App(ctx, in.app); err == nil && app.Deployment != nil {
		return "the deployment of " + app.Deployment.Release.String()
	}
	if list, err := in.client.Builds(ctx, in.app); err == nil && len(list) > 0 && list[0].State == cluster.BuildRunning {
		return "build " + string(list[0].ID)
	}
	return ""
}
