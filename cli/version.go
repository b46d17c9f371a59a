package cli

import (
	"context"
	"runtime"
	"runtime/debug"
)

// version is set by the build.
var version = "dev"

func versionVerb() *verb {
	return &verb{name: "version", group: groupSelf, summary: "version of this program", examples: []string{"paas version --json"}, run: showVersion}
}

// versionInfo is what "version --json" prints.
type versionInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Dirty   bool   `json:"dirty"`
	Built   string `json:"commit_time,omitempty"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersionInfo() versionInfo {
	v := versionInfo{Version: version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Dirty = s.Value == "true"
		case "vcs.time":
			v.Built = s.Value
		}
	}
	return v
}

func showVersion(_ context.Context, in *invocation) error {
	v := newVersionInfo()
	return in.print(v, func(o *output) {
		commit := v.Commit
		if v.Dirty {
			commit += " (changed)"
		}
		o.printf("paas %s\n", v.Version)
		if o.outTTY || commit != "" {
			o.printf("%s %s/%s %s\n", v.Go, v.OS, v.Arch, commit)
		}
	})
}
