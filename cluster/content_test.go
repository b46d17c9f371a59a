package cluster

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const someDigest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"

func TestParseContent(t *testing.T) {
	for path, want := range map[string]Content{
		"/v2/apps/blog/blobs/" + someDigest:                                       {"apps/blog", ContentBlob, someDigest},
		"/v2/apps/blog/manifests/" + someDigest:                                   {"apps/blog", ContentManifest, someDigest},
		"/v2/apps/blobs/manifests/" + someDigest:                                  {"apps/blobs", ContentManifest, someDigest},
		"/v2/":                                                                    {},
		"/v2/apps/blog/manifests/latest":                                          {},
		"/v2/apps/../blobs/" + someDigest:                                         {},
		"/v2/apps/blog/blobs/uploads/":                                            {},
		"/v2//blobs/" + someDigest:                                                {},
		"/v2/apps/blog/blobs/" + strings.ToUpper(someDigest):                      {},
		"/v2/apps/blog/blobs/" + someDigest + "/":                                 {},
		"/v2/" + strings.Repeat("a/", 150) + "a/blobs/" + someDigest:              {},
		"/v2/apps/blog/blobs/sha512:" + strings.TrimPrefix(someDigest, "sha256:"): {},
	} {
		got, ok := ParseContent(path)
		if got != want || ok != (want != Content{}) {
			t.Errorf("%s: %v %v", path, got, ok)
		}
	}
}

func FuzzParseContent(f *testing.F) {
	f.Add("/v2/apps/blog/blobs/" + someDigest)
	f.Add("/v2/apps/blog/manifests/" + someDigest)
	f.Add("/v2/a/../b/manifests/sha256:..%2f")
	f.Fuzz(func(t *testing.T, path string) {
		c, ok := ParseContent(path)
		if !ok {
			return
		}
		if c.Path() != path {
			t.Errorf("%q became %q", path, c.Path())
		}
		if strings.Contains(c.Repository, "..") || strings.HasPrefix(c.Repository, "/") || len(c.Digest) != 71 {
			t.Errorf("%q is let through as %+v", path, c)
		}
	})
}

func TestContentVerified(t *testing.T) {
	c := Content{Digest: someDigest}
	for _, x := range []struct {
		bytes string
		size  int64
		read  string
		err   error
	}{
		{"hello", 5, "hello", nil},
		{"hello, and more", 5, "hello", nil},
		{"hell", 5, "hell", io.ErrUnexpectedEOF},
		{"hullo", 5, "hull", &DigestError{}},
		{"hello!", 6, "hello", &DigestError{}},
		{"", 0, "", &DigestError{}},
	} {
		for _, r := range []io.Reader{strings.NewReader(x.bytes), iotest.OneByteReader(strings.NewReader(x.bytes)), iotest.DataErrReader(strings.NewReader(x.bytes))} {
			got, err := io.ReadAll(c.Verified(r, x.size))
			var wrong *DigestError
			if isWrong := errors.As(err, &wrong); isWrong != errors.As(x.err, &wrong) || !isWrong && !errors.Is(err, x.err) {
				t.Errorf("%q of %d: %v", x.bytes, x.size, err)
			}
			if !strings.HasPrefix(x.read, string(got)) || err == nil && string(got) != x.read {
				t.Errorf("%q of %d: %q came through", x.bytes, x.size, got)
			}
		}
	}
	empty := Content{Digest: "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	if got, err := io.ReadAll(empty.Verified(strings.NewReader(""), 0)); len(got) > 0 || err != nil {
		t.Errorf("nothing: %q %v", got, err)
	}
}

func TestManifestType(t *testing.T) {
	for manifest, want := range map[string]string{
		`{"mediaType":"application/vnd.docker.distribution.manifest.v2+json"}`: "application/vnd.docker.distribution.manifest.v2+json",
		`{"schemaVersion":2,"config":{}}`:                                      "application/vnd.oci.image.manifest.v1+json",
		`{"schemaVersion":2,"manifests":[]}`:                                   "application/vnd.oci.image.index.v1+json",
		`no`:                                                                   "application/vnd.oci.image.manifest.v1+json",
	} {
		if got := ManifestType([]byte(manifest)); got != want {
			t.Errorf("%s: %s", manifest, got)
		}
	}
}

func TestRegistryEndpointAdmitsItsOwnPasswordAlone(t *testing.T) {
	e := RegistryEndpoint{Address: "127.0.0.1:5000", Username: "paas", Password: "secret"}
	for _, x := range []struct {
		username, password string
		want               bool
	}{
		{"paas", "secret", true},
		{"paas", "", false},
		{"", "secret", false},
		{"", "", false},
		{"paas", "secre", false},
		{"paas", "secret1", false},
		{"root", "secret", false},
		{"paass", "ecret", false},
	} {
		if got := e.Admits(x.username, x.password); got != x.want {
			t.Errorf("%q %q: %v", x.username, x.password, got)
		}
	}
}
