package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlainBody(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("0032want"))
	_ = z.Close()
	for encoding, body := range map[string][]byte{"": []byte("0032want"), "gzip": zipped.Bytes(), "x-gzip": zipped.Bytes()} {
		r := httptest.NewRequest("POST", "/git/blog.git/git-upload-pack", bytes.NewReader(body))
		r.Header.Set("Content-Encoding", encoding)
		plain, err := plainBody(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(plain); err != nil || string(got) != "0032want" {
			t.Errorf("%q: %q %v", encoding, got, err)
		}
	}
	for _, bad := range []string{"br", "gzip"} {
		r := httptest.NewRequest("POST", "/git/blog.git/git-upload-pack", bytes.NewReader([]byte("0032want")))
		r.Header.Set("Content-Encoding", bad)
		if _, err := plainBody(r); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestProtocolPassesNothingElse(t *testing.T) {
	for value, want := range map[string]int{"version=2": 1, "version=2:x": 1, "": 0, "a b": 0, "version=2\nLD_PRELOAD=x": 0, "$(id)": 0} {
		r := httptest.NewRequest("GET", "/git/blog.git/info/refs", nil)
		r.Header["Git-Protocol"] = []string{value}
		if env := protocol(r); len(env) != want {
			t.Errorf("%q: %q", value, env)
		}
	}
}

func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second} {
		if got := backoff(n); got != want {
			t.Errorf("backoff(%d) = %v, want %v", n, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := pause(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
