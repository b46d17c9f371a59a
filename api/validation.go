package api

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"paas/cluster"
)

// maxComplaints bounds how many faults of a request are named at once.
const maxComplaints = 5

// invalidRequest turns huma's validation error into a Problem. huma's own one
// holds the sent values; here only locations and rules get through.
func invalidRequest(registry huma.Registry, hc huma.Context, m *huma.ErrorModel) *Problem {
	e := cluster.Invalid("request", "the request is not valid")
	var complaints []string
	for i, d := range m.Errors {
		if d == nil {
			continue
		}
		if i == 0 {
			e.Code = fieldOf(d.Location)
		}
		if len(complaints) < maxComplaints {
			complaints = append(complaints, complaint(registry, hc.Operation(), d))
		}
	}
	switch {
	case m.Status == http.StatusRequestEntityTooLarge:
		e = cluster.Invalid("body", "the request is too large").Because("the limit is %d bytes", maxJSONBody)
	case len(complaints) > 0:
		e.Reason = strings.Join(complaints, "; ")
	case m.Status == http.StatusBadRequest:
		e.Code, e.Reason = "body", "the body is missing or broke off"
	}
	return problemOf(refuse(m.Status, e), RequestID(hc.Context()))
}

// complaint says what is wrong where, without what was sent.
func complaint(registry huma.Registry, op *huma.Operation, d *huma.ErrorDetail) string {
	where := printable(d.Location)
	switch {
	case d.Message == "unexpected property":
		return where + " is not known" + didYouMean(registry, op, d.Location)
	case d.Message == "unknown query parameter":
		return where + " is not known"
	case !ruleRE.MatchString(d.Message):
		// Decoders quote what they stumbled over.
		return where + " is not valid JSON of the expected form"
	}
	rule, _, _ := strings.Cut(d.Message, ": ") // what follows is a parser's, with the value
	return where + ": " + rule
}

// ruleRE matches what huma says about rules, as against what decoders say.
var ruleRE = regexp.MustCompile(`^(expected |required |invalid (integer|float|boolean)$)`)

// fieldOf is the last name of a location: "body.changes[0].type" → "type".
func fieldOf(location string) string {
	parts := locationRE.FindAllString(location, -1)
	if len(parts) == 0 {
		return "request"
	}
	return printable(parts[len(parts)-1])
}

var locationRE = regexp.MustCompile(`[^.\[\]]+`)

// printable cuts a name that the caller chose down to what may be shown.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if r := []rune(s); len(r) > 80 {
		return string(r[:79]) + "…"
	}
	return s
}

// didYouMean names the known properties nearest to the unknown one.
func didYouMean(registry huma.Registry, op *huma.Operation, location string) string {
	if op == nil || op.RequestBody == nil || op.RequestBody.Content[jsonType] == nil {
		return ""
	}
	schema := op.RequestBody.Content[jsonType].Schema
	path := locationRE.FindAllString(location, -1)
	if len(path) < 2 {
		return ""
	}
	resolve := func(s *huma.Schema) *huma.Schema {
		if s != nil && s.Ref != "" {
			return registry.SchemaFromRef(s.Ref)
		}
		return s
	}
	for _, part := range path[1 : len(path)-1] {
		schema = resolve(schema)
		if schema == nil {
			return ""
		}
		if schema.Items != nil {
			schema = schema.Items
		} else {
			schema = schema.Properties[part]
		}
	}
	if schema = resolve(schema); schema == nil {
		return ""
	}
	known := slices.Sorted(maps.Keys(schema.Properties))
	if near := cluster.Nearest(path[len(path)-1], known); len(near) > 0 {
		return fmt.Sprintf(" (did you mean %s?)", strings.Join(near, " or "))
	}
	return fmt.Sprintf(" (known: %s)", strings.Join(known, ", "))
}
