package agent

import (
	"testing"

	"paas/cluster"
)

func TestTransitions(t *testing.T) {
	for _, c := range []struct {
		from phase
		h    happening
		to   phase
		ok   bool
	}{
		{phasePending, containerStarted, phaseStarting, true},
		{phasePending, imageMissing, phasePulling, true},
		{phasePending, foundHealthy, phaseHealthy, true},
		{phasePending, foundUnhealthy, phaseUnhealthy, true},
		{phasePending, foundWaiting, phaseBackoff, true},
		{phasePulling, imageImpossible, phaseFailed, true},
		{phasePulling, containerStarted, phaseStarting, true},
		{phaseStarting, checkPassed, phaseHealthy, true},
		{phaseStarting, bootLimit, phaseDoomed, true},
		{phaseStarting, checkFailing, 0, false},
		{phaseDoomed, exited, phaseFailed, true},
		{phaseHealthy, checkFailing, phaseUnhealthy, true},
		{phaseHealthy, checkPassed, 0, false},
		{phaseUnhealthy, checkPassed, phaseHealthy, true},
		{phaseUnhealthy, checkHopeless, phaseUnhealthy, true},
		{phaseUnhealthy, exited, phaseBackoff, true},
		{phaseBackoff, containerStarted, phaseStarting, true},
		{phaseStopping, endedAsWanted, phaseStopped, true},
		{phaseStopping, exited, 0, false},
		{phaseStopped, containerStarted, 0, false},
		{phaseFailed, stopWanted, 0, false},
	} {
		if to, ok := next(c.from, c.h); to != c.to || ok != c.ok {
			t.Errorf("%s after %s: got %s, %v, want %s, %v", c.from, c.h, to, ok, c.to, c.ok)
		}
	}
}

func TestEveryPhaseCanBeStoppedAndIsReported(t *testing.T) {
	for p := range phaseEnd {
		if p.state().Terminal() != p.over() {
			t.Errorf("%s: reported as %s, over is %v", p, p.state(), p.over())
		}
		if p.over() || p == phaseStopping {
			continue
		}
		if to, ok := next(p, stopWanted); !ok || to != phaseStopping {
			t.Errorf("%s cannot be stopped", p)
		}
		if p != phasePending && p.state() == cluster.AllocationPending {
			t.Errorf("%s is reported as pending", p)
		}
	}
}
