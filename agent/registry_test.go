package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"paas/cluster"
)

// serversHave is what servers answer, one after the other.
type serversHave [][]byte

// Fetch implements imageSource.
func (s serversHave) Fetch(_ context.Context, c cluster.Content, take func(io.Reader, int64) error) error {
	err := error(cluster.NotFound("image_content", "no server has it"))
	for _, b := range s {
		if b == nil {
			err = cluster.Errorf(cluster.KindUnavailable, "image_content", "nobody answers")
			continue
		}
		if err = take(c.Verified(bytes.NewReader(b), int64(len(b))), int64(len(b))); err == nil || errors.Is(err, errBegun) {
			return err
		}
	}
	return err
}

func newMirror(t *testing.T, source imageSource) *httptest.Server {
	t.Helper()
	m, err := openMirror(nil, source, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_ = m.listener.Close() // the test has one of its own
	m.endpoint.Password = "secret"
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return s
}

func TestMirror(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 20_000)
	wrong := bytes.Clone(data)
	wrong[len(wrong)-1] ^= 1
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`)
	path := func(kind string, b []byte) string {
		return fmt.Sprintf("/v2/apps/blog/%s/sha256:%x", kind, sha256.Sum256(b))
	}
	for name, x := range map[string]struct {
		servers      serversHave
		method, path string
		from         string // of the range
		status       int    // 0: the answer breaks off
		body         []byte
	}{
		"the protocol is there":             {nil, "GET", "/v2/", "", 200, []byte("{}")},
		"a layer":                           {serversHave{data}, "GET", path("blobs", data), "", 200, data},
		"a layer's size":                    {serversHave{data}, "HEAD", path("blobs", data), "", 200, nil},
		"the rest of a layer":               {serversHave{data}, "GET", path("blobs", data), "bytes=150000-", 206, data[150_000:]},
		"a range that makes no sense":       {serversHave{data}, "GET", path("blobs", data), "bytes=9-2,-", 200, data},
		"a false layer is broken off":       {serversHave{wrong}, "GET", path("blobs", data), "", 0, nil},
		"and is not begun again":            {serversHave{wrong, data}, "GET", path("blobs", data), "", 0, nil},
		"a false end of a layer, too":       {serversHave{wrong}, "GET", path("blobs", data), "bytes=10-", 0, nil},
		"a layer that nobody has":           {nil, "GET", path("blobs", data), "", 404, nil},
		"a layer that cannot be had now":    {serversHave{nil}, "GET", path("blobs", data), "", 503, nil},
		"a manifest":                        {serversHave{manifest}, "GET", path("manifests", manifest), "", 200, manifest},
		"a manifest's type":                 {serversHave{manifest}, "HEAD", path("manifests", manifest), "", 200, nil},
		"a false manifest, then a true one": {serversHave{data, manifest}, "GET", path("manifests", manifest), "", 200, manifest},
		"a manifest that nobody has":        {nil, "GET", path("manifests", manifest), "", 404, nil},
		"a manifest without end":            {serversHave{make([]byte, cluster.MaxManifestBytes+1)}, "GET", path("manifests", manifest), "", 503, nil},
		"a tag":                             {serversHave{data}, "GET", "/v2/apps/blog/manifests/latest", "", 404, nil},
		"another path":                      {serversHave{data}, "GET", "/v2/_catalog", "", 404, nil},
		"writes":                            {serversHave{data}, "PUT", path("blobs", data), "", 405, nil},
		"uploads":                           {serversHave{data}, "POST", "/v2/apps/blog/blobs/uploads/", "", 405, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMirror(t, x.servers)
			req, err := http.NewRequestWithContext(t.Context(), x.method, s.URL+x.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("paas", "secret")
			if x.from != "" {
				req.Header.Set("Range", x.from)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				if x.status != 0 {
					t.Fatal(err)
				}
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			switch {
			case x.status == 0 && err == nil:
				t.Errorf("%s with %d bytes, whole", resp.Status, len(got))
			case x.status != 0 && (err != nil || resp.StatusCode != x.status):
				t.Errorf("%s, %v", resp.Status, err)
			case x.body != nil && !bytes.Equal(got, x.body):
				t.Errorf("%d bytes instead of %d", len(got), len(x.body))
			}
			if kind := resp.Header.Get("Content-Type"); resp.StatusCode == 200 && bytes.HasPrefix([]byte(x.path), []byte(path("manifests", manifest))) && kind != cluster.ManifestType(manifest) {
				t.Errorf("a manifest is %s", kind)
			}
			if x.method == "HEAD" && x.status == 200 && resp.ContentLength <= 0 {
				t.Errorf("size %d", resp.ContentLength)
			}
		})
	}
}

func TestMirrorAsksForItsPassword(t *testing.T) {
	s := newMirror(t, serversHave{[]byte("x")})
	for _, password := range []string{"", "guess", "secret "} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			req.SetBasicAuth("paas", password)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("password %q: %s", password, resp.Status)
		}
	}
}

// TestMirrorKeepsItsPort opens it again, and once when somebody has taken the port.
func TestMirrorKeepsItsPort(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	first, err := openMirror(nil, serversHave{}, log)
	if err != nil {
		t.Fatal(err)
	}
	other, err := openMirror(&first.endpoint, serversHave{}, log)
	if err != nil || other.endpoint.Address == first.endpoint.Address || other.endpoint.Password != first.endpoint.Password {
		t.Errorf("with the port taken: %+v %v", other, err)
	}
	_ = errors.Join(first.listener.Close(), other.listener.Close())
	again, err := openMirror(&first.endpoint, serversHave{}, log)
	if err != nil || again.endpoint != first.endpoint {
		t.Errorf("again: %+v %v", again, err)
	}
	_ = again.listener.Close()
}

func FuzzBegins(f *testing.F) {
	f.Add("bytes=10-", int64(100))
	f.Add("bytes=-5", int64(100))
	f.Add("bytes=99999999999999999999-", int64(1))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if at := begins(header, size); at < 0 || at > 0 && at >= size {
			t.Errorf("%q of %d begins at %d", header, size, at)
		}
	})
}
