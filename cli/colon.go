package cli

import "strings"

// colonNames are Heroku's spellings whose place in the tree is another one.
var colonNames = map[string]string{
	"ps:scale": "scale", "ps:restart": "restart", "ps:exec": "exec", "dyno:restart": "restart", "dyno:scale": "scale",
	"releases:rollback": "rollback", "config:add": "config set", "config:remove": "config unset",
	"apps:open": "open", "apps:delete": "apps destroy", "builds:output": "builds log", "releases:output": "builds log",
	"authorizations:create": "token create", "authorizations": "token list", "authorizations:revoke": "token revoke",
	"auth:login": "login", "git:from-image": "deploy",
}

// otherNames are what other tools call commands of ours. They are hints only: a
// name that works is a name that scripts depend on.
var otherNames = map[string]string{
	"create": "apps create", "init": "apps create", "launch": "apps create", "destroy": "apps destroy", "delete": "apps destroy",
	"info": "apps info", "list": "apps", "env": "config", "vars": "config", "secrets": "config", "set": "config set",
	"ssh": "exec", "bash": "exec", "console": "exec", "shell": "exec", "enter": "exec", "push": "deploy", "ship": "deploy",
	"start": "scale", "stop": "scale", "certs": "domains", "whoami": "status", "logout": "context remove",
	"release": "releases", "build": "builds",
	"history": "releases", "activity": "events", "audit": "events", "update": "apps update", "undo": "rollback",
}

// withoutColon rewrites the command of words from Heroku's spelling
// ("config:set") into ours ("config set"). It returns ours for a hint, or "".
func withoutColon(root *verb, words []string) (out []string, ours string) {
	_, path, rest, _ := resolve(root, words)
	if len(path) > 0 {
		return words, ""
	}
	for i, word := range rest {
		if isFlag(word) {
			continue
		}
		ours = colonNames[word]
		if ours == "" && strings.Contains(word, ":") {
			ours = strings.ReplaceAll(word, ":", " ")
		}
		to := strings.Fields(ours)
		if v, path, left, _ := resolve(root, to); ours == "" || v == root || len(path) != len(to) || len(left) > 0 {
			continue // not ours; it may be the value of an unknown flag, too
		}
		return append(append(append([]string{}, rest[:i]...), to...), rest[i+1:]...), ours
	}
	return words, ""
}
