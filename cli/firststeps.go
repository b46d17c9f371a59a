package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"paas/cluster"
)

// firstSteps says how to deploy something now, in commands that work where this
// one was typed.
func (in *invocation) firstSteps(r *upRecord) {
	exe, err := os.Executable()
	if err != nil {
		return
	}
	in.out.notef("  Deploy something now:\n")
	setup, paas := callable(exe, findProgram)
	if setup != "" {
		in.out.notef("    %s\n", setup)
	}
	name := freeSample(in.appNames(r), func(name string) bool {
		_, err := os.Lstat(name)
		return !errors.Is(err, fs.ErrNotExist)
	})
	in.out.notef("    %s sample %s && cd %s && %s apps create && git push paas main\n", paas, name, name, paas)
}

// callable is how people call the program at exe: by its name alone if a shell finds
// it so, or would after setup, else by its whole path.
func callable(exe string, find func(string) (string, error)) (setup, name string) {
	if found, err := find("paas"); err == nil && sameFile(found, exe) {
		return "", "paas"
	}
	if filepath.Base(exe) == "paas" {
		return "export PATH=" + shellWord(filepath.Dir(exe)) + ":$PATH", "paas"
	}
	return "", shellWord(exe)
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// freeSample is the first of hello, hello-2, … that neither an app nor a file has.
func freeSample(apps map[cluster.AppName]bool, there func(string) bool) string {
	for n, name := 2, "hello"; ; n++ {
		if !apps[cluster.AppName(name)] && !there(name) {
			return name
		}
		name = "hello-" + strconv.Itoa(n)
	}
}

// appNames are the apps of the cluster that runs; none if it does not say at once.
func (in *invocation) appNames(r *upRecord) map[cluster.AppName]bool {
	names := map[cluster.AppName]bool{}
	files, err := home(in.env)
	if err != nil {
		return names
	}
	t, err := files.lookup(r.Context)
	if err != nil {
		return names
	}
	client, err := t.client()
	if err != nil {
		return names
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	apps, err := client.Apps(ctx)
	if err != nil {
		return names // the sample's own errors say what to do
	}
	for _, a := range apps {
		names[a.Name] = true
	}
	return names
}
