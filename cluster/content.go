package cluster

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strings"
)

// ContentKind is what a piece of an image is.
type ContentKind uint8

const (
	// ContentBlob is a layer, or an image's configuration.
	ContentBlob ContentKind = iota
	// ContentManifest lists an image's blobs.
	ContentManifest
)

// MaxManifestBytes bounds a manifest, as registries do.
const MaxManifestBytes = 4 << 20

// Content names one piece of an image by what it is, wherever it lies. It is also a
// path of the registry's protocol (OCI distribution specification), with which hosts
// ask for it.
type Content struct {
	Repository string // "apps/blog"
	Kind       ContentKind
	Digest     string // "sha256:" and 64 hex digits
}

// contentRE is a path that names content by digest; paths with a tag are no content.
var contentRE = regexp.MustCompile(`^/v2/([a-z0-9]+(?:[._/-][a-z0-9]+)*)/(blobs|manifests)/(sha256:[0-9a-f]{64})$`)

// maxRepository bounds a repository's name.
const maxRepository = 255

// ParseContent reads a path; false if it names no content.
func ParseContent(path string) (Content, bool) {
	m := contentRE.FindStringSubmatch(path)
	if m == nil || len(m[1]) > maxRepository {
		return Content{}, false
	}
	c := Content{Repository: m[1], Digest: m[3]}
	if m[2] == "manifests" {
		c.Kind = ContentManifest
	}
	return c, true
}

// RegistryEndpoint is where a host's own Docker Engine gets images, and what it logs in
// with: other programs of the host reach the port, too.
type RegistryEndpoint struct {
	Address  string // loopback host:port
	Username string
	Password Redacted
}

// Admits reports whether these are the endpoint's name and password. How long it takes
// says nothing about them.
func (e RegistryEndpoint) Admits(username, password string) bool {
	return subtle.ConstantTimeCompare([]byte(username+"\x00"+password), []byte(e.Username+"\x00"+e.Password.Reveal())) == 1
}

// Path is what ParseContent reads.
func (c Content) Path() string {
	kind := "blobs"
	if c.Kind == ContentManifest {
		kind = "manifests"
	}
	return "/v2/" + c.Repository + "/" + kind + "/" + c.Digest
}

// Manifest is the image's own content.
func (i Image) Manifest() Content {
	return Content{Repository: i.Repository, Kind: ContentManifest, Digest: i.Digest}
}

// ManifestType is the media type of a manifest, which says it itself; an OCI manifest
// need not.
func ManifestType(manifest []byte) string {
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	switch err := json.Unmarshal(manifest, &m); {
	case err == nil && m.MediaType != "":
		return m.MediaType
	case err == nil && m.Manifests != nil:
		return "application/vnd.oci.image.index.v1+json"
	}
	return "application/vnd.oci.image.manifest.v1+json"
}

// DigestError says that bytes are not what they were said to be.
type DigestError struct{ Want, Got string }

// Error implements error.
func (e *DigestError) Error() string {
	return fmt.Sprintf("content has digest %.19s and should have %.19s", e.Got, e.Want)
}

// Verified returns r's first size bytes. In place of the last of them comes a
// *DigestError if they are not the content: who passes bytes on as they come has
// never passed on all of a false one. It is not safe for concurrent use.
func (c Content) Verified(r io.Reader, size int64) io.Reader {
	return &verified{content: c, from: r, left: size, sum: sha256.New()}
}

type verified struct {
	content Content
	from    io.Reader
	left    int64
	sum     hash.Hash
	ended   error // what Read says from now on
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	for {
		switch {
		case v.ended != nil:
			return 0, v.ended
		case v.left == 0: // of nothing
			v.ended = v.verdict()
			continue
		}
		n, err := v.from.Read(p[:min(int64(len(p)), v.left)])
		_, _ = v.sum.Write(p[:n]) // hashes never fail
		v.left -= int64(n)
		switch {
		case v.left == 0:
			if v.ended = v.verdict(); v.ended != io.EOF {
				return 0, v.ended
			}
		case err == io.EOF:
			v.ended = io.ErrUnexpectedEOF
		case err != nil:
			v.ended = err
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// verdict is io.EOF for true content.
func (v *verified) verdict() error {
	if got := "sha256:" + hex.EncodeToString(v.sum.Sum(nil)); got != v.content.Digest {
		return &DigestError{Want: v.content.Digest, Got: got}
	}
	return io.EOF
}

// String is the content for logs.
func (c Content) String() string { return strings.TrimPrefix(c.Path(), "/v2/") }
