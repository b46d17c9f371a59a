package router

// HostError says that the host of a replica could not be reached at all: it says
// nothing of the replica, and as much of all others there.
type HostError struct{ Err error }

// Error implements error.
func (e *HostError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *HostError) Unwrap() error { return e.Err }
