// Package e2e drives the built binary as its users do: the command line, git
// and HTTPS requests against a real `paas up` on a real Docker Engine. Its tests
// carry the build tag e2e and take PAAS_BINARY.
package e2e
