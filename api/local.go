package api

import "net/http"

// IsLocal reports whether a request is for the very server that it came to, whoever
// leads: whether its process serves, and reads that may be old.
func IsLocal(r *http.Request) bool {
	return r.URL.Path == "/healthz" || safeMethod(r.Method) && r.URL.Query().Get("stale") == "true"
}

func safeMethod(m string) bool { return m == http.MethodGet || m == http.MethodHead }
