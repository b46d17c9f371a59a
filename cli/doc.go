// Package cli is the command line: one file per verb, and a handful of things
// that every verb shares and that exist once.
//
// It turns flags into API calls and API objects into text. It holds no business
// rule: names, values and rights are judged by the server. Data goes to stdout;
// progress, headers and hints go to stderr; --json prints the API's own object.
// Errors have three parts (what, why, what to do) and every one of them has an
// exit code from the one table in exit.go.
//
// An invocation runs through:
//
//	Main → colon spellings → flags before arguments (reorder.go) → urfave/cli
//	     → the verb's function → invocation (app, context, client, output)
package cli
