// Package server composes and runs the control plane of one host: the one
// listener between hosts, the API, git, the agents' sessions, the store, the
// builder and the loops of the leader.
//
// A Server is a constructible value: New(Config) makes everything from a data
// directory, Run(ctx) runs it until ctx ends. Tests and the command line compose
// it the same way.
//
//	git / HTTP → api → deploys → builder → store (Release, Deployment)
//	store changed | router status | Plan.Next → scheduler.Compute → store
//	store changed → NodeDesired → session → agent → NodeObserved → store
//
// Every loop is level-triggered: what happened only says "look again". Log lines
// of replicas stay in memory and never enter Raft. An idle server logs nothing
// and proposes nothing.
package server
