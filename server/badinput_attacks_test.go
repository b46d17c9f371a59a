package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"paas/cluster"
)

// description is the part of the OpenAPI document that says what a request may hold.
type description struct {
	Paths map[string]map[string]struct {
		OperationID string
		Parameters  []struct {
			Name, In string
			Schema   schema
		}
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

type schema struct {
	Ref        string `json:"$ref"`
	Properties map[string]schema
	Required   []string
	Items      *schema
}

// attack is one request with one bad value in one field.
type attack struct {
	method, path string // path with {placeholders}
	name         string // of the operation
	field        string // "path id", "query limit", "header Paas-Commit", "body changes[0].type"
	value        string // as people read it
	optional     bool   // the field need not be there

	params map[string]string
	query  url.Values
	header http.Header
	media  string
	body   string
}

// hostile are texts that no field means well with, unless it is free text.
var hostile = []string{
	"; rm -rf /", "$(id)", "`id`", "| cat", "a && b", "a b", "a\nb", "a\r\nX-Y: z", `'"<>&`, "%s%n", "*", "{{7*7}}", "${jndi:x}",
	"-x", "--upload-pack=touch /tmp/x", "--", "-", "ext::sh -c id", "file:///etc/passwd",
	"..", ".", "../../etc/passwd", "a/../b", "/etc/passwd", "%2e%2e", "%2e%2e%2fapps", `..\..`, "blog/", "blog.git",
	"a\x00b", "\x00", "\x1b[31m", "\x7f", "bl\u043eg", "\uff42log", "blog\u202egolb", "blog\u200b", "\ufeffblog", "caf\u00e9", "\U0001f4a9",
	strings.Repeat("a", 10_000), strings.Repeat("../", 3_400), "", " ", "bad\xff\xfe",
	"-1", "99999999999999999999", "1e309", "NaN", "0x10", "1.5", "null", "true", "[]",
}

// wrong are JSON values of all types.
var wrong = []string{"null", "true", "0", "-1", "1.5", "1e309", "-9223372036854775808", "9223372036854775807", "99999999999999999999", `""`,
	"[]", "{}", "[[]]", `{"a":1}`, `["a",1,null]`, strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
	strings.Repeat(`{"a":`, 9_000) + "1" + strings.Repeat("}", 9_000), `"\ud800"`, "nul", `"open`, "{"}

// bodies are requests that would work; attacks change one field of one.
var bodies = map[string]string{
	"create-app":    `{"name":"extra","deploy_branch":"main"}`,
	"update-app":    `{"deploy_branch":"trunk"}`,
	"scale":         `{"changes":[{"type":"web","quantity":2,"relative":false}]}`,
	"restart":       `{"types":["web"]}`,
	"change-config": `{"set":{"KEY":"value"},"unset":["SECRET"]}`,
	"create-token":  `{"name":"ci","scope":"read","apps":["blog"],"ttl_ns":3600000000000}`,
	"login":         `{"name":"maria"}`,
	"add-domain":    `{"host":"other.example.com"}`,
	"rollback":      `{"to":1}`,
	"backup":        `{"passphrase":"correct horse"}`,
	"deploy":        `{"image":"busybox:latest"}`,
	"create-volume": `{"name":"data","node":"node-1"}`,
	"attach-volume": `{"process":"web","path":"/data"}`,
	"update-node":   `{"schedule":"cordoned","set_labels":{"disk":"ssd"},"unset_labels":["old"]}`,
	"create-join":   `{"role":"agent","ttl_ns":3600000000000}`,
	"join":          `{"id":"000000000000","secret":"s","csr":"","role":"agent","name":"n","zone":"a","address":"10.0.0.1:7443"}`,
}

// tamed says why value may stand in field after all; "" if it may not.
func tamed(a *attack) string {
	text := strings.TrimPrefix(a.value, "text ")
	isText := text != a.value
	line := isText && cluster.ValidateLine("name", text) == nil
	switch key := a.name + " " + a.field; {
	case a.value == "json null" && a.optional:
		return "as if it were not there"
	case (a.field == "path app" || a.field == "query app" || key == "create-app body.name" || key == "create-token body.apps[0]") && isText && cluster.AppName(text).Validate() == nil:
		return "apps may be named so"
	case (a.field == "path volume" || key == "create-volume body.name") && isText && cluster.VolumeName(text).Validate() == nil:
		return "volumes may be named so"
	case key == "create-volume body.node" && (text == "" || a.value == `json ""`), key == "create-join body.ttl_ns" && a.value == "json 0":
		return "documented as the default"
	case (key == "add-domain body.host" || a.field == "path host") && cluster.Hostname(text).Validate() == nil:
		return "hosts may be named so"
	case key == "change-config body.set key" && cluster.ValidateConfigKey(text) == nil:
		return "variables may be named so"
	case key == "deploy body.image" && cluster.ValidateImageRef(text) == nil:
		return "images may be named so"
	case (key == "change-config body.unset" || key == "restart body.types") && a.value == "json []", key == "change-config body.set" && a.value == "json {}":
		return "documented as none"
	case key == "restart body" && a.value == "json {}", key == "rollback body" && a.value == "json {}", key == "update-app body" && a.value == "json {}", key == "create-app body" && a.value == "json {}":
		return "all of it is optional"
	case key == "create-app body.name" && (text == "" || a.value == `json ""`):
		return "the server chooses a name"
	case strings.HasSuffix(key, "body.deploy_branch") && (text == "" || a.value == `json ""`):
		return "back to the default"
	case strings.HasSuffix(key, "body.deploy_branch") && isText && cluster.ValidateBranch(text) == nil:
		return "git knows such branches"
	case key == "change-config body.set.KEY" && (isText && !strings.ContainsRune(text, 0) || a.value == `json ""` || a.value == `json "\ud800"`):
		return "values are free text"
	case key == "backup body.passphrase" && text != "" && (isText || a.value == `json "\ud800"`):
		return "so are passphrases"
	case (key == "create-token body.name" || key == "login body.name") && line:
		return "names of tokens are for people"
	case key == "deploy header Paas-Description" && (line || text == ""):
		return "so are descriptions"
	case key == "deploy header Paas-Commit" && text == "":
		return "not every tree has a commit"
	case key == "create-token body.ttl_ns" && a.value == "json 0", key == "rollback body.to" && a.value == "json 0":
		return "documented as the default"
	case strings.HasPrefix(a.field, "query ") && text == "" && isText && a.field != "query confirm":
		return "as if it were not there"
	case a.field == "header Last-Event-ID" && strings.TrimSpace(text) == "":
		return "as if it were not there"
	case (a.field == "query limit" || a.field == "query lines" || a.field == "query since") && (text == "0" || text == "null"):
		return "documented as the default"
	case a.field == "query lines" && text == "-1":
		return "documented as none"
	case a.field == "query follow" && text == "true":
		return "it is a truth value"
	case key == "scale body.changes[0].relative" && a.value == "json true":
		return "it is a truth value"
	case key == "scale body.changes[0].quantity" && a.value == "json 0":
		return "scaling to nothing is allowed"
	}
	return ""
}

// attacks returns every attack on an operation.
func (d *description) attacks(method, path, name string) []*attack {
	op := d.Paths[path][method]
	base := attack{method: strings.ToUpper(method), path: path, name: name, query: url.Values{}, header: http.Header{}, body: bodies[name],
		params: map[string]string{"app": "blog", "id": "b-1", "key": "SECRET", "host": "shop.example.com", "version": "1"}}
	switch name {
	case "destroy-app":
		base.query.Set("confirm", "blog")
	case "revoke-token":
		base.params["id"] = "000000000000"
	}
	if base.body != "" {
		base.media = "application/json"
	}
	out := base.extra()
	for _, p := range op.Parameters {
		for _, v := range hostile {
			if a := base.with(p.In+" "+p.Name, "text "+v); a.place(p.In, p.Name, v) {
				out = append(out, a)
			}
		}
	}
	for media, content := range op.RequestBody.Content {
		if media == "application/json" {
			var v any
			if json.Unmarshal([]byte(base.body), &v) != nil {
				panic("no sample body for " + name)
			}
			out = append(out, d.inBody(base, content.Schema, v)...)
		}
	}
	return out
}

func (a attack) with(field, value string) *attack {
	a.field, a.value = field, value
	a.params, a.query, a.header = maps.Clone(a.params), maps.Clone(a.query), a.header.Clone()
	return &a
}

// place puts v where a parameter belongs; false if HTTP cannot carry it.
func (a *attack) place(in, name, v string) bool {
	switch in {
	case "path":
		a.params[name] = v
		return v != "" // that is another path
	case "query":
		a.query[name] = []string{v}
	case "header":
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return false
		}
		a.header.Set(name, v)
		if name == "Paas-Commit" || name == "Paas-Description" {
			a.media, a.body = "application/gzip", "no archive"
		}
	}
	return true
}

// extra are attacks on what every route has: its query, media type and body as a whole.
func (a attack) extra() []*attack {
	unknown := a.with("query ?", "an unknown key")
	unknown.query.Set("zz", "1")
	twice := a.with("query ?", "traversal in a name")
	twice.query.Set("../../x", "1")
	out := []*attack{unknown, twice}
	if a.body == "" {
		return out
	}
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json/../x",
		"application/JSONP", strings.Repeat("a", 9_000) + "/b"} {
		m := a.with("header Content-Type", "text "+media)
		m.media = media
		out = append(out, m)
	}
	for _, body := range append(wrong, "", a.body+a.body, strings.Repeat(" ", 1<<20)+a.body, "\ufeff"+a.body, "\x00"+a.body) {
		b := a.with("body", "json "+body)
		b.body = body
		out = append(out, b)
	}
	return out
}

// inBody attacks every field that the schema knows, wherever in the body it is.
func (d *description) inBody(base attack, s schema, root any) []*attack {
	const mark = "@@here@@"
	var out []*attack
	optional := false
	send := func(where, value, raw string) {
		text, _ := json.Marshal(root)
		a := base.with(where, value)
		a.optional = optional
		a.body = strings.Replace(string(text), `"`+mark+`"`, raw, 1)
		out = append(out, a)
	}
	values := func(where string) {
		for _, v := range hostile {
			send(where, "text "+v, quoted(v))
		}
		for _, v := range wrong {
			send(where, "json "+v, v)
		}
	}
	var walk func(s schema, v any, where string)
	walk = func(s schema, v any, where string) {
		for s.Ref != "" {
			s = d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		}
		switch v := v.(type) {
		case map[string]any:
			for n := range s.Properties {
				if _, ok := v[n]; !ok {
					panic(base.name + ": the sample body has no " + where + "." + n)
				}
			}
			for n, old := range v {
				v[n] = mark
				optional = s.Properties != nil && !slices.Contains(s.Required, n)
				values(where + "." + n)
				optional = false
				v[n] = old
				walk(s.Properties[n], old, where+"."+n)
			}
			for _, n := range hostile {
				if _, ok := v[n]; !ok {
					v[mark] = "hunter2"
					send(where+" key", "text "+n, quoted(n))
					delete(v, mark)
				}
			}
		case []any:
			old := v[0]
			v[0] = mark
			values(where + "[0]")
			v[0] = old
			walk(*s.Items, old, where+"[0]")
		}
	}
	walk(s, root, "body")
	return out
}

// quoted is v as a JSON string, with bytes that are no UTF-8 kept.
func quoted(v string) string {
	text, _ := json.Marshal(v)
	return strings.ReplaceAll(string(text), `bad\ufffd\ufffd`, "bad\xff\xfe")
}
