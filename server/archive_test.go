package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"paas/cluster"
	"paas/store"
)

// archive makes a gzipped tar of files.
func archive(t testing.TB, files map[string]string) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// procfile is a source tree of one file.
func procfile(text string) map[string]string { return map[string]string{"Procfile": text} }

func startBuild(h *host, app cluster.AppName) store.Command {
	return store.StartBuild{By: platform(), App: app, Node: h.server.self}
}
