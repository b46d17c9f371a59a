// Package router is the data plane: it terminates TLS for every routed host
// name, chooses a healthy replica and streams requests to it and answers back.
//
// It owns its listeners, the route table it was last given (kept on disk, so a
// restarted router serves before any server is reached), the certificates of
// the table's hosts, and the balancing state of each replica. It never decides
// what runs where and never talks to the store: tables come in through
// SetTable, certificate storage through Config.Certificates.
//
//	socket → listen (TLS, ALPN) → guard (strict HTTP/1 framing) → host → table
//	       → balance → retry → proxy → the replica's own transport → container
//
// The invariant everything else leans on: a request holds a count on the
// replica it goes to, and a replica that left the table takes no new holders.
// So once Status reports a table's index, a replica outside that table with no
// count in InFlight never sees another request.
package router
