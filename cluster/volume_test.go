package cluster

import (
	"strings"
	"testing"
)

func TestMountPaths(t *testing.T) {
	for _, p := range []string{"/data", "/var/lib/postgresql/data", "/usr/share/elasticsearch/data", "/app/.cache", "/etcetera", "/home", "/root/-x", "/..data"} {
		if err := ValidateMountPath(p); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	for _, p := range []string{"", "/", "data", "./data", "/data/", "/a//b", "/a/../b", "/..", "/.", "/a/.", "//", "/a b", "/a:ro", "/a,readonly", "/a\x00b", "/a\nb",
		"/\u0430", "/proc", "/proc/1", "/sys/fs", "/dev/shm", "/etc", "/etc/passwd", "/run/secrets", "/var/run/docker.sock", "/bin", "/lib/x", "/usr", "/usr/bin", "/usr/local",
		"/var", "/var/lib", "/" + strings.Repeat("a", 255), `/a\b`, "/$HOME", "/*"} {
		if err := ValidateMountPath(p); KindOf(err) != KindInvalid {
			t.Errorf("%q: %v, want it refused", p, err)
		}
	}
}

func FuzzMountPath(f *testing.F) {
	f.Add("/data")
	f.Add("/a/../proc")
	f.Fuzz(func(t *testing.T, p string) {
		if ValidateMountPath(p) != nil {
			return
		}
		for _, part := range strings.Split(p, "/") {
			if part == "." || part == ".." {
				t.Fatalf("%q was taken", p)
			}
		}
		for _, closed := range []string{"/proc", "/sys", "/dev", "/etc"} {
			if !strings.HasPrefix(p, "/") || p == closed || strings.HasPrefix(p, closed+"/") || strings.ContainsAny(p, ":,\x00\n ") {
				t.Fatalf("%q was taken", p)
			}
		}
	})
}

func TestOverlappingPaths(t *testing.T) {
	at := []*Volume{{Name: "data", Path: "/data"}, {Name: "deep", Path: "/var/lib/x/y"}}
	for p, want := range map[string]VolumeName{"/data": "data", "/data/more": "data", "/var/lib/x": "deep", "/database": "", "/var/lib/x/z": "", "/other": ""} {
		var got VolumeName
		if v := Overlapping(at, p); v != nil {
			got = v.Name
		}
		if got != want {
			t.Errorf("%s overlaps %q, want %q", p, got, want)
		}
	}
}
