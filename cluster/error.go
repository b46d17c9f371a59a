package cluster

import (
	"errors"
	"fmt"
)

// Kind says what sort of thing went wrong; package api maps it to an HTTP
// status and package cli to an exit code, each in one table.
type Kind uint8

// The zero Kind is KindInternal: an error nobody classified is our fault.
const (
	KindInternal        Kind = iota // a defect or an I/O error of ours; details go to the log only
	KindInvalid                     // the input is wrong and will be wrong again
	KindNotFound                    // no such noun
	KindConflict                    // the state does not allow it now: name taken, deploy in progress
	KindUnauthenticated             // no valid token
	KindForbidden                   // a valid token without the right
	KindUnavailable                 // try again: no leader, node gone, shutting down
	KindUnplaceable                 // no node fits
	KindBuildFailed                 // the source did not become an image
	KindRolloutFailed               // the release did not become healthy and was reverted
)

var kindNames = []string{"internal", "invalid", "not_found", "conflict", "unauthenticated", "forbidden",
	"unavailable", "unplaceable", "build_failed", "rollout_failed"}

func (k Kind) String() string                { return enumName(kindNames, k) }
func (k Kind) MarshalText() ([]byte, error)  { return []byte(k.String()), nil }
func (k *Kind) UnmarshalText(b []byte) error { return enumParse("error kind", kindNames, k, b) }

// Error is the one error type that crosses package and process boundaries. Its
// three texts are for people: Message says what did not happen, Reason why,
// Hint what to do now. None ever holds a secret or a Go type.
type Error struct {
	Kind    Kind   `json:"kind"`
	Code    string `json:"code,omitempty"`   // stable, snake_case: "app_name", "rollout.crashed"
	Message string `json:"message"`          // "app \"blgo\" not found"
	Reason  string `json:"reason,omitempty"` // "nearest: blog, blog-staging"
	Hint    string `json:"hint,omitempty"`   // a command the reader can run
	Err     error  `json:"-" cbor:"-"`       // for logs and errors.Is; never shown to users
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return e.Message
	}
	return e.Message + ": " + e.Reason
}

func (e *Error) Unwrap() error { return e.Err }

// Because returns a copy with a reason.
func (e *Error) Because(format string, args ...any) *Error {
	c := *e
	c.Reason = fmt.Sprintf(format, args...)
	return &c
}

// WithHint returns a copy with a hint.
func (e *Error) WithHint(hint string) *Error {
	c := *e
	c.Hint = hint
	return &c
}

// Wrap returns a copy that carries err for the log.
func (e *Error) Wrap(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Errorf makes an Error of any kind.
func Errorf(k Kind, code, format string, args ...any) *Error {
	return &Error{Kind: k, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an Error of KindInvalid; code names the field.
func Invalid(code, format string, args ...any) *Error {
	return Errorf(KindInvalid, code, format, args...)
}

// NotFound makes an Error of KindNotFound; noun is its code.
func NotFound(noun, format string, args ...any) *Error {
	return Errorf(KindNotFound, noun, format, args...)
}

// Conflict makes an Error of KindConflict.
func Conflict(code, format string, args ...any) *Error {
	return Errorf(KindConflict, code, format, args...)
}

// KindOf returns the kind of the first Error in err's chain, else KindInternal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}
