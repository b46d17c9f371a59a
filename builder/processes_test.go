package builder

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/cluster"
)

// describe parses what a tree says about itself.
func describe(t *testing.T, manifest, procfile, appJSON string) settings {
	t.Helper()
	files := map[string]string{}
	for name, text := range map[string]string{manifestFile: manifest, procFile: procfile, appJSONFile: appJSON} {
		if text != "" {
			files[name] = text
		}
	}
	s, err := readSettings(mapFS(files))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func process(change func(*cluster.Process)) cluster.Process {
	p := cluster.Process{MemoryBytes: cluster.DefaultMemoryBytes, CPUMilli: cluster.DefaultCPUMilli, StopGrace: cluster.DefaultStopGrace}
	change(&p)
	return p
}

func web(change func(*cluster.Process)) cluster.Process {
	return process(func(p *cluster.Process) {
		p.Port, p.Check.Kind = cluster.DefaultPort, cluster.CheckTCP
		change(p)
	})
}

func TestProcesses(t *testing.T) {
	image := imageFacts{Command: []string{"/app"}}
	asIs := func(*cluster.Process) {}
	for name, c := range map[string]struct {
		manifest, procfile, appJSON string
		method                      Method
		image                       imageFacts
		want                        map[cluster.ProcessType]cluster.Process
	}{
		"image alone":     {image: image, want: map[cluster.ProcessType]cluster.Process{"web": web(asIs)}},
		"entrypoint only": {image: imageFacts{Entrypoint: []string{"/app"}}, want: map[cluster.ProcessType]cluster.Process{"web": web(asIs)}},
		"exposed port": {image: imageFacts{Command: []string{"/app"}, Ports: []int{3000}},
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Port = 3000 })}},
		"two exposed ports": {image: imageFacts{Command: []string{"/app"}, Ports: []int{80, 443}}, want: map[cluster.ProcessType]cluster.Process{"web": web(asIs)}},
		"procfile": {procfile: "web: serve\nworker: work --fast\nrelease: migrate $X\n", image: image, want: map[cluster.ProcessType]cluster.Process{
			"web":     web(func(p *cluster.Process) { p.Command = []string{"serve"} }),
			"worker":  process(func(p *cluster.Process) { p.Command = []string{"work", "--fast"} }),
			"release": process(func(p *cluster.Process) { p.Command = []string{"/bin/sh", "-c", "exec migrate $X"} }),
		}},
		"procfile without web": {procfile: "worker: work\n", image: image, want: map[cluster.ProcessType]cluster.Process{
			"worker": process(func(p *cluster.Process) { p.Command = []string{"work"} })}},
		"paas.toml adds to the image": {manifest: "[processes]\nworker = \"work\"\n", image: image, want: map[cluster.ProcessType]cluster.Process{
			"web": web(asIs), "worker": process(func(p *cluster.Process) { p.Command = []string{"work"} })}},
		"paas.toml over procfile over app.json": {
			manifest: "[process.web]\ncommand = \"mine\"\nport = 99\nmemory = \"1G\"\ncpu = 2\nstop_grace = \"5s\"\ncheck = { path = \"/up\", boot = \"2m\" }\n",
			procfile: "web: theirs\n", appJSON: `{"healthchecks":{"web":[{"path":"/app.json"}]}}`, image: imageFacts{Ports: []int{3000}},
			want: map[cluster.ProcessType]cluster.Process{"web": {Command: []string{"mine"}, Port: 99, MemoryBytes: 1 << 30, CPUMilli: 2000, StopGrace: 5 * time.Second,
				Check: cluster.Check{Kind: cluster.CheckHTTP, Path: "/up", Boot: 2 * time.Minute}}}},
		"app.json check": {appJSON: `{"healthchecks":{"web":[{"type":"readiness","path":"/up"}]}}`, image: image,
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Check = cluster.Check{Kind: cluster.CheckHTTP, Path: "/up"} })}},
		"no check": {manifest: "[process.web]\ncheck = { kind = \"none\" }\n", image: image,
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Check.Kind = cluster.CheckNone })}},
		"worker with a port": {manifest: "[process.worker]\ncommand = \"w\"\nport = 9000\ncheck = { kind = \"tcp\" }\n", image: imageFacts{},
			want: map[cluster.ProcessType]cluster.Process{"worker": process(func(p *cluster.Process) {
				p.Command, p.Port, p.Check.Kind = []string{"w"}, 9000, cluster.CheckTCP
			})}},
		"entrypoint of a Dockerfile stays": {procfile: "web: serve\n", method: MethodDockerfile, image: imageFacts{Entrypoint: []string{"/init"}},
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Command, p.KeepEntrypoint = []string{"serve"}, true })}},
		"entrypoint of a base image goes": {procfile: "web: serve\n", method: MethodNode, image: imageFacts{Entrypoint: []string{"/init"}},
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Command = []string{"serve"} })}},
		"entrypoint replaced": {manifest: "[process.web]\ncommand = \"serve\"\nentrypoint = \"replace\"\n", method: MethodDockerfile, image: imageFacts{Entrypoint: []string{"/init"}},
			want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.Command = []string{"serve"} })}},
		"static site": {method: MethodStatic, image: image, want: map[cluster.ProcessType]cluster.Process{"web": web(func(p *cluster.Process) { p.MemoryBytes = staticMemoryBytes })}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := describe(t, c.manifest, c.procfile, c.appJSON).processes(c.method, c.image)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProcessesRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		image    imageFacts
		want     string
	}{
		"nothing to run":     {"", imageFacts{}, "nothing says what to run"},
		"no command":         {"\n[process.worker]\nmemory = \"1G\"\n", imageFacts{Command: []string{"x"}}, "line 2"},
		"check without port": {"[process.worker]\ncommand = \"x\"\ncheck = { kind = \"tcp\" }\n", imageFacts{}, "no port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := describe(t, c.manifest, "", "").processes(MethodDockerfile, c.image)
			refusal(t, err, c.want)
		})
	}
}
