// Package scheduler decides what should run where. Compute is a pure function
// from one State, what the routers acknowledged, and the time, to a Plan: it
// reads no clock, does no I/O, keeps nothing between calls and never executes
// what it decided.
//
// It owns the desired half of allocations: placement, spread, rollout, drain,
// replacement, the end of deployments and of destroyed apps. It never writes
// the observed half, which belongs to the agents.
//
//	State ┐
//	Routers├─▶ Compute ─▶ Plan{Place Drain Stop Forget Deployments RemoveApps}
//	Now   ┘                └ Next: when to look again even if nothing changes
//
// What always holds: the same input gives the same plan; the plan of a settled
// world is empty and has no Next; no allocation goes where a filter refused it;
// nothing that serves is drained below the wanted quantity by our own choice.
package scheduler
