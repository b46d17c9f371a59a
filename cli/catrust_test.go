package cli

import (
	"strings"
	"testing"
)

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
