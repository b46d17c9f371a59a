// Package api is both ends of the wire. Each resource has one file with its
// service interface, its routes, its handlers and its Client methods: the
// server implements the interface, the Client satisfies it over HTTP, and the
// command line cannot tell which it holds. The agent session lives here too.
//
// Every route stands in one table together with the right it demands; package
// server mounts that table behind one authorisation check, and a route without
// a rule does not compile into it. Errors cross the wire as RFC 9457 problems
// and come back as the same *cluster.Error. Values that a caller sent are never
// echoed.
package api
