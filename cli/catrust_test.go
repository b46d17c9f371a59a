package cli

import (
	"os"
	"strings"
	"testing"
	"time"

	"paas/identity"
)

// TestAuthorityIsThereWhileItIsWritten: "paas up" writes its context at each start,
// and somebody may read it then: without an authority the server would be a
// stranger.
func TestAuthorityIsThereWhileItIsWritten(t *testing.T) {
	s := settings{t.TempDir()}
	var pems []string
	for _, name := range []string{"one", "two"} {
		a, err := identity.NewAuthority(name, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		pems = append(pems, string(a.CertificatePEM()))
	}
	put := func(i int) error {
		return s.put(&target{name: "dev", server: "https://127.0.0.1:7443", ca: pems[i%2]}, makeCurrent)
	}
	if err := put(0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for i := range 100 {
			if err := put(i); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for looks := 0; ; looks++ {
		c, err := s.lookup("dev")
		if err != nil || c.ca != pems[0] && c.ca != pems[1] {
			t.Fatalf("look %d: authority %.60q, %v", looks, c.ca, err)
		}
		if files, err := os.ReadDir(c.caDir); err != nil || len(files) == 0 {
			t.Fatalf("look %d: git has no authority: %v", looks, err)
		}
		select {
		case err := <-done:
			if files, _ := os.ReadDir(c.caDir); err != nil || len(files) != 1 {
				t.Fatalf("%d files for git, %v", len(files), err)
			}
			return
		default:
		}
	}
}

func TestGitTrust(t *testing.T) {
	own := &target{server: "https://127.0.0.1:7443", caFile: "dev.pem", caDir: "dev.d"}
	alone := &target{server: "https://127.0.0.1:7443", caFile: "given.pem"} // PAAS_CA_FILE: no directory of ours
	for _, c := range []struct {
		target *target
		env    string
		do     string
	}{
		{own, "", ""}, {own, "GIT_SSL_CAINFO", ""}, {own, "GIT_SSL_CAPATH", ""},
		{own, "GIT_SSL_CAINFO GIT_SSL_CAPATH", "in this shell: unset GIT_SSL_CAPATH"},
		{alone, "", ""}, {alone, "GIT_SSL_CAPATH", ""}, {alone, "GIT_SSL_CAINFO", "in this shell: unset GIT_SSL_CAINFO"},
		{&target{server: "https://paas.example.com:7443"}, "GIT_SSL_CAINFO GIT_SSL_CAPATH", ""}, // the system's roots
	} {
		in := &invocation{program: &program{env: func(name string) string {
			if strings.Contains(c.env, name) {
				return "/etc/ssl"
			}
			return ""
		}}}
		if f := in.checkGitTrust(c.target); f.Do != c.do || (f.State == "ok") != (c.do == "") {
			t.Errorf("%+v with %q: got %+v", c.target, c.env, f)
		}
	}
}
