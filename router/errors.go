package router

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// failure is an answer that the router itself gives. Its code is stable.
type failure struct {
	status int
	code   string
	title  string
	text   string // for whoever sees it
	advice string // for whoever owns the app; "" if it is not theirs to mend
	run    string // the command that advice ends with
}

var (
	failBadRequest = failure{status: 400, code: "H-bad-request", title: "Bad request", text: "The request is ambiguous or malformed."}
	failNoHost     = failure{404, "H-no-host", "No such host", "No app is served under this host name. Check its spelling.",
		"Add the name to an app with", "paas domains add"}
	failMethod      = failure{status: 405, code: "H-method", title: "Method not allowed", text: "CONNECT and TRACE are not served here."}
	failSlowClient  = failure{status: 408, code: "H-slow-body", title: "Request timed out", text: "The request body did not arrive in time."}
	failMisdirected = failure{status: 421, code: "H-misdirected", title: "Misdirected request", text: "The connection was opened for another host name."}
	failBroken      = failure{502, "H-broken", "The app broke the connection", "A replica took the request and closed the connection without a valid answer.",
		"See what it printed with", "paas logs"}
	failConnect = failure{502, "H-connect", "The app cannot be reached", "The connection to a replica failed.",
		"See what runs with", "paas ps"}
	failNoReplica = failure{503, "H-no-replica", "The app is not running", "The app has no healthy replica at the moment.",
		"Look at it with", "paas ps"}
	failIdle = failure{503, "H-not-started", "The app is not started", "Nothing of the app runs: it is scaled to zero, or nothing was deployed yet.",
		"Deploy it with git push, or if it was deployed, start it with", "paas scale web=1"}
	failBusy = failure{503, "H-busy", "The app is too busy", "The app has too many requests in flight at the moment.",
		"Make it answer sooner, or give it more replicas with", "paas scale web+1"}
	failTimeout = failure{504, "H-timeout", "The app timed out", "A replica did not answer in time.",
		"See what it printed with", "paas logs"}
)

// because is f with a text about this time.
func (f failure) because(format string, args ...any) failure {
	f.text = fmt.Sprintf(format, args...)
	return f
}

// detail is all that a failure says, as text.
func (f failure) detail() string {
	if f.advice == "" {
		return f.text
	}
	return f.text + " " + f.advice + ": " + f.run
}

// retryAfter is what clients are told when no replica is healthy or all are
// busy: a restart or a rollback takes a few seconds.
const retryAfter = "5"

// write answers with the failure in the form that the client asked for. Nothing
// that the client sent is repeated.
func (f failure) write(w http.ResponseWriter, r *http.Request, id string) {
	contentType, body := f.body(r.Header.Get("Accept"), id)
	h := w.Header()
	clear(h)
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", fmt.Sprint(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Router-Error", f.code)
	h.Set("X-Request-Id", id)
	if f.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	if r.ProtoMajor == 1 && (f.status == http.StatusRequestTimeout || f.status == http.StatusBadRequest) {
		h.Set("Connection", "close")
	}
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

func (f failure) body(accept, id string) (contentType string, body []byte) {
	switch {
	case strings.Contains(accept, "text/html"):
		return "text/html; charset=utf-8", f.page(id)
	case strings.Contains(accept, "json"):
		b, _ := json.Marshal(struct { // strings and an int: cannot fail
			Status    int    `json:"status"`
			Code      string `json:"code"`
			Title     string `json:"title"`
			Detail    string `json:"detail"`
			RequestID string `json:"request_id"`
		}{f.status, f.code, f.title, f.detail(), id})
		return "application/json", append(b, '\n')
	}
	return "text/plain; charset=utf-8", fmt.Appendf(nil, "%d %s\n%s\ncode %s, request %s\n", f.status, f.title, f.detail(), f.code, id)
}

// page is a failure for a browser. It fetches nothing: the app's own files may be
// what cannot be reached.
func (f failure) page(id string) []byte {
	advice := ""
	if f.advice != "" {
		advice = fmt.Sprintf("<p class=a>Is this site yours? %s <code>%s</code></p>", html.EscapeString(f.advice), html.EscapeString(f.run))
	}
	title := html.EscapeString(f.title)
	return fmt.Appendf(nil, errorPage, f.status, title, errorStyle, f.status, title, html.EscapeString(f.text), advice, f.code, id)
}

const (
	errorPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="robots" content="noindex"><title>%d %s</title>
<style>%s</style></head>
<body><main><p class=s>%d</p><h1>%s</h1><p>%s</p>%s<dl><dt>Code</dt><dd>%s</dd><dt>Request</dt><dd>%s</dd></dl></main></body></html>
`
	errorStyle = `:root{--t:#1f2328;--m:#59636e;--b:#f6f8fa;--c:#fff;--l:#d1d9e0;--r:#b35900}
@media(prefers-color-scheme:dark){:root{--t:#e6e9ed;--m:#9198a1;--b:#0d1117;--c:#161b22;--l:#3d444d;--r:#f0a35e}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--t);background:var(--b)}
main{width:100%;max-width:34rem;padding:clamp(1.25rem,5vw,2.5rem);background:var(--c);border:1px solid var(--l);border-radius:12px}
h1{font-size:1.5rem;line-height:1.25;margin:0 0 .75rem}p{margin:0 0 1rem}.s{margin:0;font-weight:600;color:var(--r)}.a{color:var(--m)}
code,dd{font-family:ui-monospace,monospace;font-size:.875em;overflow-wrap:anywhere}code{color:var(--t);white-space:nowrap}
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:1.5rem 0 0;padding-top:1rem;border-top:1px solid var(--l);font-size:.875rem;color:var(--m)}dd{margin:0}`
)
