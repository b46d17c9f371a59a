package server

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"paas/identity"
)

// packet is a pkt-line: its length, itself included, in four hex digits.
func packet(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// brokenPushes are bodies that no git sends. They are read by git itself: there is
// no parser of pkt-lines here.
func brokenPushes() map[string]string {
	zero, one := strings.Repeat("0", 40), strings.Repeat("1", 40)
	command := func(ref string) string {
		return packet(zero+" "+one+" "+ref+"\x00report-status side-band-64k") + "0000"
	}
	pack := func(version, objects uint32) string {
		return "PACK" + string(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, version), objects))
	}
	out := map[string]string{
		"nothing": "", "a flush": "0000", "flushes": strings.Repeat("0000", 10_000), "reserved lengths": "0001000200030004", "no length": "zzzz", "half a length": "00",
		"cut off": "ffff" + one, "longer than allowed": "fff5" + strings.Repeat("a", 0xfff1), "negative": "-001", "not a command": packet("hello") + "0000",
		"no capabilities": packet(zero+" "+one+" refs/heads/main") + "0000", "NUL bytes": packet(strings.Repeat("\x00", 100)) + "0000",
		"short hashes": packet("0 1 refs/heads/main\x00report-status") + "0000", "a hash that is an option": packet(zero+" --upload-pack=x refs/heads/main\x00") + "0000",
		"a shallow line": packet("shallow "+one) + "0000", "a certificate": packet("push-cert\x00report-status") + packet("x") + "0000",
		"no pack": command("refs/heads/main"), "a pack that ends": command("refs/heads/main") + pack(2, 1), "four billion objects": command("refs/heads/main") + pack(2, 1<<32-1) + strings.Repeat("\xff", 1000),
		"no pack's version": command("refs/heads/main") + pack(9, 0), "no pack at all": command("refs/heads/main") + strings.Repeat("x", 100_000),
		"an object without end": command("refs/heads/main") + pack(2, 1) + "\xbf" + strings.Repeat("\xff", 100), "hungry object": command("refs/heads/main") + pack(2, 1) + "\xbf\xff\xff\xff\xff\x7fx\x9c",
	}
	for _, ref := range []string{"../../x", "refs/heads/../../../x", "refs/heads/.lock", "HEAD", "refs/heads/a\nb", "--exec=x", "refs/heads/" + strings.Repeat("a", 60_000), "config"} {
		out[fmt.Sprintf("ref %.30q", ref)] = command(ref) + pack(2, 0)
	}
	return out
}

// What is no push leaves nothing, breaks nothing, and the next one deploys.
func TestGitBrokenPushesLeaveNothing(t *testing.T) {
	h := newHost(t)
	h.createApp("blog")
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: identity.PinnedConfig(h.server.CAPEM()), DisableKeepAlives: true}}
	send := func(what, service, encoding, body string) {
		t.Helper()
		req, err := http.NewRequest("POST", "https://"+h.server.Addr().String()+"/git/blog.git/"+service, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("paas", h.token)
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
		req.Header.Set("Content-Encoding", encoding)
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s to %s: %v", what, service, err)
			return
		}
		defer res.Body.Close()
		answer, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20)) // who sends this may be cut off
		if res.StatusCode >= 500 || strings.Contains(string(answer), "ok refs/") {
			t.Errorf("%s to %s: %s %.300q", what, service, res.Status, answer)
		}
	}
	for what, body := range brokenPushes() {
		send(what, receivePack, "", body)
		send(what, uploadPack, "", body)
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 64<<20)) // to memory
	_ = z.Close()
	send("64 MiB of zeros", receivePack, "gzip", bomb.String())
	send("half of them", receivePack, "gzip", bomb.String()[:bomb.Len()/2])
	send("64 MiB of zeros", uploadPack, "gzip", bomb.String())
	if left, err := filepath.Glob(filepath.Join(h.dir, "git", "blog.git", "objects", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	c := newClone(h, "blog")
	c.commit(procfile("web: ok\n"))
	contains(t, c.must("push", "paas", "main"), "v1 is live")
	if builds, _ := h.client.Builds(t.Context(), "blog"); len(builds) != 1 {
		t.Errorf("%d builds, want 1", len(builds))
	}
}

// FuzzQuarantine: what a hook says about objects never leads out of the repository.
func FuzzQuarantine(f *testing.F) {
	const repo = "/data/git/blog.git"
	f.Add([]byte(`{"push":"x","quarantine":"/data/git/blog.git/objects/tmp","objects":"objects/tmp","alternates":"objects:../x"}`))
	f.Add([]byte(`{"objects":"/data/git/blog.git/../shop.git"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var req hookRequest
		if json.Unmarshal(data, &req) != nil {
			return
		}
		env, err := quarantine(repo, req)
		if err != nil {
			return
		}
		for _, kv := range env {
			_, value, _ := strings.Cut(kv, "=")
			for path := range strings.SplitSeq(value, ":") {
				if !filepath.IsAbs(path) {
					path = filepath.Join(repo, path)
				}
				if path = filepath.Clean(path); path != repo && !strings.HasPrefix(path, repo+"/") {
					t.Fatalf("%q leads to %q", kv, path)
				}
			}
		}
	})
}
