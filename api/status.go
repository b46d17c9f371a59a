package api

import (
	"net/http"

	"paas/cluster"
)

// statuses is the one table of error kinds and HTTP statuses. Each status stands
// once, so that the table reads both ways.
var statuses = [...]struct {
	kind   cluster.Kind
	status int
}{
	{cluster.KindInternal, http.StatusInternalServerError},
	{cluster.KindInvalid, http.StatusUnprocessableEntity},
	{cluster.KindNotFound, http.StatusNotFound},
	{cluster.KindConflict, http.StatusConflict},
	{cluster.KindUnauthenticated, http.StatusUnauthorized},
	{cluster.KindForbidden, http.StatusForbidden},
	{cluster.KindUnavailable, http.StatusServiceUnavailable},
	{cluster.KindUnplaceable, http.StatusInsufficientStorage},
	{cluster.KindBuildFailed, http.StatusFailedDependency},
	{cluster.KindRolloutFailed, http.StatusPreconditionFailed},
}

// StatusOf returns the HTTP status of an error kind; 500 for kinds it does not know.
func StatusOf(k cluster.Kind) int {
	for _, s := range statuses {
		if s.kind == k {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// kindOf is the way back, for answers that do not name their kind: statuses
// that no kind has count as the nearest one.
func kindOf(status int) cluster.Kind {
	for _, s := range statuses {
		if s.status == status {
			return s.kind
		}
	}
	switch {
	case status == http.StatusMethodNotAllowed, status == http.StatusGone:
		return cluster.KindNotFound
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return cluster.KindUnavailable
	case status >= 400 && status < 500:
		return cluster.KindInvalid
	}
	return cluster.KindInternal
}
