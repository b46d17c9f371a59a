// Package cluster owns the nouns: App, Release, Build, Deployment, Allocation,
// Node, Domain, Token, Event and the State that holds them. What is declared
// here is what Raft stores, the API sends and the CLI prints: one struct per
// noun.
//
// A State is an immutable, consistent view at one Raft index. Only package
// store makes a new one, through a Draft; readers never lock and never change
// what they read, pointers included.
//
// Desired fields are written by operators and the scheduler, observed fields
// by the agents; no field has two writers. Nothing here does I/O, reads a
// clock or draws random numbers.
package cluster
