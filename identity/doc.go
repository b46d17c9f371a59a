// Package identity says who is who: the cluster's certificate authority, node
// certificates and the mutual TLS configurations made of them, API tokens, the
// sealing of secrets and of backups. It is crypto only: no HTTP, no replicated
// state, and files only for a host's own key material (0600, written whole).
//
// A host is its key and the node ID in its certificate, never an address.
// Nothing here prints a key: values that hold one show a name or dots.
package identity
