// Package agent owns one node: it keeps what the servers assigned to the node
// running, in containers of the local engine, tells them what became of it, and
// runs the node's router.
//
//	session  ──desired──▶ reconcile ──diff──▶ replica (one goroutine each) ──▶ engine
//	   ▲                                         │ checks, exits, restarts
//	   └──────────── board (newest observations) ◀┘        ▲
//	                                         engine events, slow poll
//
// What must always hold: a container without the cluster's label is never
// touched. Ending the agent ends no replica, and starting it again adopts them
// as they are. Without any server the agent keeps, and restarts, what it was
// last told. Nothing that was never told is stopped: before the first set of
// assignments is known, reconciling does nothing.
//
// DESIGN.md says why.
package agent
