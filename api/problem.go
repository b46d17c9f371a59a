package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"

	"paas/cluster"
)

// problemType is RFC 9457's media type.
const problemType = "application/problem+json"

// Problem is how an error crosses the wire: an RFC 9457 problem that carries the
// fields of cluster.Error. It never holds a value that the caller sent.
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Kind      string `json:"kind"`
	Code      string `json:"code,omitempty"`
	Message   string `json:"message"`
	Reason    string `json:"reason,omitempty"`
	Hint      string `json:"hint,omitempty"`
	RequestID string `json:"request_id,omitempty"`

	header http.Header
	cause  error // for the log
}

// Error is the problem's message.
func (p *Problem) Error() string { return p.Message }

// GetStatus is the HTTP status of the answer.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is RFC 9457's.
func (p *Problem) ContentType(string) string { return problemType }

// refusal is an error with its own HTTP status, where the kind's is not exact.
type refusal struct {
	err    *cluster.Error
	status int
	header http.Header
}

func (r *refusal) Error() string { return r.err.Error() }

// Unwrap makes the cluster.Error visible to errors.As.
func (r *refusal) Unwrap() error { return r.err }

// refuse makes an error of status instead of its kind's.
func refuse(status int, e *cluster.Error) *refusal {
	return &refusal{err: e, status: status, header: http.Header{}}
}

// publicError is what may be said of err to the caller: the detail of what
// nobody classified goes to the log only.
func publicError(err error, requestID string) *cluster.Error {
	var e *cluster.Error
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &e) && e.Kind != cluster.KindInternal:
		return e
	case errors.As(err, &big):
		return cluster.Invalid("body", "the request is too large").Because("the limit is %d bytes", big.Limit)
	case errors.Is(err, context.Canceled):
		return cluster.Errorf(cluster.KindUnavailable, "cancelled", "the request was cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return cluster.Errorf(cluster.KindUnavailable, "timeout", "the request took too long").WithHint("try again")
	}
	return cluster.Errorf(cluster.KindInternal, "internal", "internal error (request %s)", requestID).
		WithHint("the server's log says more: look for the request there")
}

// problemOf turns err into what the caller sees.
func problemOf(err error, requestID string) *Problem {
	e := publicError(err, requestID)
	p := &Problem{Type: "about:blank", Status: StatusOf(e.Kind), Kind: e.Kind.String(), Code: e.Code,
		Message: readable(e.Message), Reason: readable(e.Reason), Hint: readable(e.Hint), RequestID: requestID, cause: err}
	var r *refusal
	var big *http.MaxBytesError
	if errors.As(err, &r) {
		p.Status, p.header = r.status, r.header
	} else if errors.As(err, &big) {
		p.Status = http.StatusRequestEntityTooLarge
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// maxProblemText bounds each text of a problem. The longest that are meant quote
// the last lines of a build.
const maxProblemText = 8 << 10

// readable keeps a problem harmless for terminals, whoever's words it quotes:
// bounded, and without control characters but newlines and tabs.
func readable(s string) string {
	if len(s) > maxProblemText {
		s = strings.ToValidUTF8(s[:maxProblemText], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, s)
}

// WriteProblem answers with err as an RFC 9457 problem. Errors of KindInternal
// and errors that are no cluster.Error show nothing but the request's ID; the
// caller logs them.
func WriteProblem(w http.ResponseWriter, err error, requestID string) {
	p := problemOf(err, requestID)
	for k, v := range p.header {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client is gone: nothing to do about it
}

// decodeProblem rebuilds the error that a server answered with. body may be
// anything: proxies answer too.
func decodeProblem(status int, body []byte) *cluster.Error {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Message == "" {
		return cluster.Errorf(kindOf(status), "http", "the server answered %d %s", status, http.StatusText(status)).
			WithHint("check that the address is a paas server's")
	}
	e := &cluster.Error{Code: p.Code, Message: p.Message, Reason: p.Reason, Hint: p.Hint}
	if e.Kind.UnmarshalText([]byte(p.Kind)) != nil {
		e.Kind = kindOf(status)
	}
	if p.RequestID != "" {
		e.Err = fmt.Errorf("request %s", p.RequestID)
	}
	return e
}
