package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"paas/cluster"
)

// badLine is one command line with one bad value in one field.
type badLine struct {
	path  string // of the command
	field string // "argument 0", "--app"
	value string
	words []string
}

// goodLines are what would work; bad ones differ from one in one field. Flags are
// written --name=value.
var goodLines = map[string][]string{
	"sample": {"hello"}, "apps": {}, "apps list": {}, "apps create": {"extra", "--no-remote"}, "apps info": {"blog"}, "apps update": {"--deploy-branch=main"},
	"apps destroy": {"shop", "--confirm=shop"}, "deploy": {"."}, "open": {"--print"}, "status": {}, "ps": {}, "logs": {"web"}, "releases": {}, "releases list": {},
	"releases info": {"v1"}, "builds": {}, "builds list": {}, "builds log": {"b-1"}, "builds cancel": {"b-1"}, "deployments": {}, "deployments list": {},
	"deployments watch": {"d-1"}, "deployments cancel": {"d-1"}, "events": {}, "config": {}, "config list": {}, "config set": {"LEVEL=info"},
	"config unset": {"SECRET"}, "config get": {"SECRET"}, "config import": {".env"}, "scale": {"web=2", "--detach"}, "restart": {"web", "--detach"}, "rollback": {"v1", "--yes"},
	"domains": {}, "domains list": {}, "domains add": {"other.example.com"}, "domains remove": {"shop.example.com"},
	"volumes": {}, "volumes list": {}, "volumes info": {"data"}, "volumes create": {"extra"}, "volumes attach": {"spare", "/data", "--process=web", "--detach"}, "volumes detach": {"data", "--detach"}, "volumes destroy": {"spare", "--confirm=spare"},
	"run": {"--", "true"}, "exec": {"web.1", "--", "true"},
	"nodes": {}, "nodes list": {}, "nodes info": {"node-1"}, "nodes label": {"node-1", "disk=ssd"}, "nodes cordon": {"node-1"}, "nodes drain": {"node-1"},
	"nodes uncordon": {"node-1"}, "nodes remove": {"node-1", "--yes"}, "token": {}, "token list": {}, "token create": {"--name=ci"}, "token revoke": {"0123456789ab"}, "join": {}, "join list": {}, "join create": {"--role=agent"}, "join revoke": {"0123456789ab"},
	"agent": {"--data=agent", "--listen=127.0.0.1:0"}, "backup create": {}, "backup restore": {"file"}, "backup verify": {"file"},
	"cluster export": {}, "cluster status": {}, "cluster recover": {"--data=server", "--yes"}, "doctor": {}, "trust": {}, "up": {"--data=up"}, "down": {"--data=up"}, "server": {"--data=server", "--listen=127.0.0.1:0", "--http=127.0.0.1:0", "--https=127.0.0.1:0"},
	"login": {"https://127.0.0.1:1", "--token=" + fakeToken}, "context": {}, "context list": {}, "context use": {"test"},
	"context add": {"more", "--server=https://127.0.0.1:1", "--token=" + fakeToken}, "context remove": {"test"}, "git remote": {"blog"}, "completion": {"bash"}, "version": {},
	"help": {}, "__complete": {"--", "paas"}, "git-credential": {"get"}, "git-hook": {"pre-receive"}, "serve-static": {"/nonexistent"}, "routes": {},
}

// hostile are texts that no field means well with, unless it is free text.
var hostile = []string{
	"; rm -rf /", "$(id)", "`id`", "| cat", "a && b", "a b", "a\nb", `'"<>&`, "%s%n", "*", "{{7*7}}",
	"-x", "--upload-pack=touch /tmp/x", "--", "-", "ext::sh -c id",
	"..", ".", "../../etc/passwd", "a/../b", "/etc/passwd/x", "%2e%2e", `..\..`, "blog/", "blog.git",
	"a\x00b", "\x00", "\x1b[31m", "\x7f", "bl\u043eg", "\uff42log", "blog\u202egolb", "blog\u200b", "\ufeffblog", "\U0001f4a9",
	strings.Repeat("a", 10_000), strings.Repeat("../", 3_400), "", " ", "bad\xff\xfe", "\xed\xa0\x80",
	"-1", "99999999999999999999", "1e309", "NaN", "0x10", "1.5", "null", "true", "[]",
}

// few are one of each kind.
var few = []string{"$(id)", "--upload-pack=x", "../..", "a\x00b", "bl\u043eg\u202e", strings.Repeat("a", 10_000), "bad\xff\xfe", "-1"}

var unknownFlags = []string{"--zz", "--zz=1", "-%", "--Json", "--json2", "---json", "--=", "--\x00", "--bad\xff", "-\u202e", "--" + strings.Repeat("a", 10_000)}

// shape is how a value is put into a word.
type shape struct {
	name string
	in   func(string) string
}

// shapes are those of a field: most words are the value.
func shapes(field string) []shape {
	plain := shape{"", func(v string) string { return v }}
	key := shape{" key", func(v string) string { return v + "=x" }}
	value := shape{" value", func(v string) string { return "KEY=" + v }}
	switch field {
	case "config set", "run --env":
		return []shape{plain, key, value}
	case "scale":
		return []shape{plain, {" type", func(v string) string { return v + "=1" }}, {" number", func(v string) string { return "web=" + v }},
			{" step", func(v string) string { return "web+" + v }}}
	}
	return []shape{plain}
}

// tamed says why a value may stand where it stands after all; "" if it may not.
func tamed(l *badLine) string {
	v := l.value
	key := l.path + " " + l.field
	_, notInt := strconv.ParseInt(v, 0, 64)
	switch {
	case v == "" && (strings.HasPrefix(l.field, "--") || isOptional(l)):
		return "as if it were not there"
	case isBool(l) && v == "true":
		return "it is a truth value"
	case strings.Contains(l.field, "--num") || l.field == "--lines":
		return unless(notInt != nil || v == "-1" || v == "99999999999999999999", "it is a number")
	case slices.Contains(paths, key):
		return unless(strings.ContainsRune(v, 0), "files may be named so")
	case strings.HasSuffix(l.field, " value"):
		return unless(cluster.ValidateConfigValue("KEY", v) != nil, "values are free text")
	}
	if check := grammars[key]; check != nil {
		return unless(check(v) != nil, "it is what the field is for")
	}
	return ""
}

func unless(bad bool, reason string) string {
	if bad {
		return ""
	}
	return reason
}

// paths are fields that take the name of a file or folder of the person's own.
var paths = []string{"trust --out", "down --data", "up --data", "server --data", "agent --data", "backup restore --data", "doctor --data"}

// grammars say which hostile values of a field are in truth good ones. Each is the
// rule that the product itself documents for that field.
var grammars = map[string]func(string) error{
	"apps create argument 0":      func(v string) error { return cluster.AppName(v).Validate() },
	"sample argument 0":           func(v string) error { return cluster.AppName(filepath.Base(v)).Validate() },
	"apps create --deploy-branch": cluster.ValidateBranch,
	"apps update --deploy-branch": cluster.ValidateBranch,
	"server --tls-san":            func(v string) error { return cluster.Hostname(strings.ToLower(v)).Validate() },
	"config set argument 0 key":   cluster.ValidateConfigKey,
	"config unset argument 0":     cluster.ValidateConfigKey,
	"run --env key":               cluster.ValidateConfigKey,
	"scale argument 0 type":       func(v string) error { return cluster.ProcessType(v).Validate() },
	"logs argument 0":             func(v string) error { return cluster.ProcessType(v).Validate() },
	"logs --process":              func(v string) error { return cluster.ProcessType(v).Validate() },
	"volumes create argument 0":   func(v string) error { return cluster.VolumeName(v).Validate() },
	"volumes attach argument 1":   cluster.ValidateMountPath,
	"volumes attach --process":    func(v string) error { return cluster.ProcessType(v).Validate() },
	"domains add argument 0":      func(v string) error { return cluster.Hostname(v).Validate() },
	"domains remove argument 0":   func(v string) error { return cluster.Hostname(v).Validate() },
	"token create --name":         func(v string) error { return cluster.ValidateLine("name", v) },
	"deploy --message":            func(v string) error { return cluster.ValidateLine("name", v) },
	"deploy --image":              cluster.ValidateImageRef,
	"deploy argument 0":           isFolder,
	"login argument 0":            func(v string) error { _, err := serverURL(v); return err },
	"login --name":                validContext,
	"context add argument 0":      validContext,
	"context add --server":        func(v string) error { _, err := serverURL(v); return err },
	"up --domain":                 func(v string) error { return cluster.Hostname(v).Validate() },
	"server --domain":             func(v string) error { return cluster.Hostname(v).Validate() },
	"server --zone":               func(v string) error { return cluster.ValidateLabel("zone", v) },
	"server --name":               func(v string) error { return cluster.ValidateLine("name", v) },
	"agent --zone":                func(v string) error { return cluster.ValidateLabel("zone", v) },
	"agent --name":                func(v string) error { return cluster.ValidateLine("name", v) },
	"up --build-network":          isWord,
	"server --build-network":      isWord,
	"up --ready-fd":               func(v string) error { _, err := strconv.ParseInt(v, 0, 32); return err },
	"serve-static argument 0":     isFolder,
	"git remote --remote":         isRemote,
	"apps create --remote":        isRemote,
	"doctor --context":            anything,
	"git-credential argument 0":   anything, // git may learn new words: a helper ignores those that it does not know
	"git-hook argument 0":         anything, // git runs it, with no terminal to say anything on
	"__complete argument 0":       anything,
}

func anything(string) error { return nil }

var errNo = errors.New("no")

func isFolder(v string) error {
	abs, err := filepath.Abs(v) // a long way to the root is one, too
	if err != nil {
		return err
	}
	if info, err := os.Stat(abs); err != nil || !info.IsDir() {
		return errNo
	}
	return nil
}

func isWord(v string) error {
	if v == "" || strings.Trim(v, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._") != "" || v[0] == '.' || len(v) > 63 {
		return errNo
	}
	return nil
}

func isRemote(v string) error {
	if strings.Contains(v, ".") {
		return errNo
	}
	return isWord(v)
}

func isOptional(l *badLine) bool {
	v, _, _, _ := resolve(verbs(), strings.Fields(l.path))
	return v.takes.min == 0 && l.field == "argument 0" && v.takes.max == 1
}

func isBool(l *badLine) bool {
	v, _, _, _ := resolve(verbs(), strings.Fields(l.path))
	f := flagTable(v.allFlags())[strings.TrimPrefix(l.field, "--")]
	return f != nil && !takesValue(f)
}

func shown(v string) string {
	if len(v) > 80 {
		return fmt.Sprintf("%.40q… (%d bytes)", v, len(v))
	}
	return fmt.Sprintf("%q", v)
}
