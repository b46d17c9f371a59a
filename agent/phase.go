package agent

import "paas/cluster"

// phase is where a replica is in its life. It is finer than what is reported:
// phase.state maps one to the other.
type phase uint8

const (
	phasePending   phase = iota // nothing was done for it yet
	phasePulling                // its image is being fetched
	phaseStarting               // its container runs, no check has passed yet
	phaseHealthy                // its check passes
	phaseUnhealthy              // it was healthy; its check fails
	phaseDoomed                 // its boot limit ran out: being ended for good
	phaseBackoff                // it exited; it starts again after a while
	phaseStopping               // it is being ended as desired
	phaseStopped                // gone, as desired
	phaseFailed                 // gone, and not tried again
	phaseEnd                    // keep last
)

var phaseNames = [phaseEnd]string{"pending", "pulling", "starting", "healthy", "unhealthy", "doomed", "backoff",
	"stopping", "stopped", "failed"}

func (p phase) String() string { return phaseNames[p] }

// state is what is reported of a replica in p.
func (p phase) state() cluster.AllocationState {
	return [phaseEnd]cluster.AllocationState{
		phasePending:   cluster.AllocationPending,
		phasePulling:   cluster.AllocationPulling,
		phaseStarting:  cluster.AllocationStarting,
		phaseHealthy:   cluster.AllocationHealthy,
		phaseUnhealthy: cluster.AllocationUnhealthy,
		phaseDoomed:    cluster.AllocationUnhealthy,
		phaseBackoff:   cluster.AllocationBackoff,
		phaseStopping:  cluster.AllocationStopping,
		phaseStopped:   cluster.AllocationStopped,
		phaseFailed:    cluster.AllocationFailed,
	}[p]
}

// happening is what moves a replica from phase to phase.
type happening uint8

const (
	nothing          happening = iota
	imageMissing               // the engine lacks the image
	imageImpossible            // nobody has the image
	containerStarted           // a new container runs, or one was found of which nothing is known
	foundHealthy               // its container was found running, and was healthy when last seen
	foundUnhealthy             // the same, but unhealthy
	foundWaiting               // its container was found ended, and that was known
	checkPassed
	checkFailing   // as often in a row as makes a healthy replica unhealthy
	checkHopeless  // as often again: it should be replaced
	bootLimit      // no check passed in time
	exited         // the container ended, or could not be started
	stopWanted     // desired is stop
	endedAsWanted  // nothing of it is left
	happeningsEnds // keep last
)

var happeningNames = [happeningsEnds]string{"nothing", "image missing", "image impossible", "container started", "found healthy",
	"found unhealthy", "found waiting", "check passed", "check failing", "check hopeless", "boot limit", "exited", "stop wanted", "ended as wanted"}

func (h happening) String() string { return happeningNames[h] }

// transitions is the whole life of a replica. What is not in it cannot happen.
var transitions = map[phase]map[happening]phase{
	phasePending: {
		imageMissing: phasePulling, containerStarted: phaseStarting, foundHealthy: phaseHealthy, foundUnhealthy: phaseUnhealthy,
		foundWaiting: phaseBackoff, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phasePulling: {
		imageImpossible: phaseFailed, containerStarted: phaseStarting, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phaseStarting: {
		checkPassed: phaseHealthy, bootLimit: phaseDoomed, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phaseHealthy: {
		checkFailing: phaseUnhealthy, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phaseUnhealthy: {
		checkPassed: phaseHealthy, checkHopeless: phaseUnhealthy, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phaseDoomed: {exited: phaseFailed, stopWanted: phaseStopping},
	phaseBackoff: {
		imageMissing: phasePulling, containerStarted: phaseStarting, exited: phaseBackoff, stopWanted: phaseStopping,
	},
	phaseStopping: {endedAsWanted: phaseStopped},
	phaseStopped:  {},
	phaseFailed:   {},
}

// next is the phase that h leads to from p; false when h cannot happen in p.
func next(p phase, h happening) (phase, bool) {
	n, ok := transitions[p][h]
	return n, ok
}

// over reports whether nothing will happen any more.
func (p phase) over() bool { return len(transitions[p]) == 0 }
