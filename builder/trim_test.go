package builder

import (
	"net/http"
	"path/filepath"
	"testing"
)

// What a push that broke off left is dropped without a restart.
func TestTrimDropsUnfinishedUploads(t *testing.T) {
	dir := t.TempDir()
	r, _ := openRegistry(t, dir, RegistryConfig{})
	if err := r.sweep(t.Context()); err != nil {
		t.Errorf("nothing was ever pushed: %v", err)
	}
	end, err := r.beginPush(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun := r.ask(t, http.MethodPost, "/v2/apps/blog/blobs/uploads/", "", nil)
	r.ask(t, http.MethodPatch, begun.Header.Get("Location"), "application/octet-stream", make([]byte, 1<<20))
	end()
	const unfinished = "blobs/docker/registry/v2/repositories/apps/blog/_uploads/*/data"
	if all, _ := filepath.Glob(filepath.Join(dir, unfinished)); len(all) != 1 {
		t.Fatalf("before: %v", all)
	}
	r.forgetUploads(t.Context())
	if err := r.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, _ := filepath.Glob(filepath.Join(dir, unfinished)); len(all) != 0 {
		t.Errorf("after: %v", all)
	}
}
