package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"paas/cluster"
	"paas/identity"
)

func TestContextFiles(t *testing.T) {
	files := settings{filepath.Join(t.TempDir(), "new", "home")}
	if _, err := files.lookup(""); exitCode(err) != exitLogin {
		t.Fatalf("without any context: %v", err)
	}
	dev := &target{name: "dev", server: "https://127.0.0.1:7443", token: "paas_x", ca: "PEM of dev"}
	prod := &target{name: "prod", server: "https://192.0.2.1:7443", token: "paas_y"}
	for _, x := range []*target{dev, prod} {
		if err := files.put(x, keepCurrent); err != nil {
			t.Fatal(err)
		}
	}
	got, err := files.lookup("") // the first one becomes the current one by itself
	if err != nil || got.name != "dev" || got.token != "paas_x" || got.ca != "PEM of dev" || got.caFile != files.caFile("dev") {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err := files.lookup("prod"); err != nil || got.server != prod.server || got.ca != "" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := files.lookup("prd"); exitCode(err) != exitNotFound || asError(err).Reason != "nearest: prod" {
		t.Fatalf("got %v", err)
	}
	for name, mode := range map[string]fs.FileMode{files.credentialsFile(): 0o600, files.contextsFile(): 0o600, files.caFile("dev"): 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if err := files.drop("dev"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(files.caFile("dev")); err == nil {
		t.Error("the dropped context's authority is still there")
	}
	if got, err := files.lookup(""); err != nil || got.name != "prod" {
		t.Fatalf("the one that is left: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "../x", "a/b", "-x", ".x", "a b"} {
		if err := files.put(&target{name: bad, server: "https://x"}, keepCurrent); exitCode(err) != exitUsage {
			t.Errorf("name %q: %v", bad, err)
		}
	}
}

func TestContextsKeepEveryConcurrentWrite(t *testing.T) {
	files := settings{t.TempDir()}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := files.put(&target{name: fmt.Sprintf("c%d", i), server: "https://x"}, keepCurrent); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f, err := files.contexts()
	c, cerr := files.credentials()
	if err != nil || cerr != nil || len(f.Context) != 20 || len(c.Context) != 20 {
		t.Fatalf("%d contexts, %d credentials, %v, %v", len(f.Context), len(c.Context), err, cerr)
	}
}

// fixedCA is a cluster's authority; "openssl x509 -noout -hash" says 8249f0b2.
const fixedCA = `-----BEGIN CERTIFICATE-----
MIIBxTCCAWugAwIBAgIUO+VVLK2fRkvea0NyCvVllT/Jd+EwCgYIKoZIzj0EAwIw
ODENMAsGA1UECgwEcGFhczEnMCUGA1UEAwwecGFhcyAgQ2x1c3RlciAwMTIzNDU2
Nzg5QUJDREVGMB4XDTI2MTEyNDA5Mjc0NloXDTI2MTIwMzA5Mjc0NlowODENMAsG
A1UECgwEcGFhczEnMCUGA1UEAwwecGFhcyAgQ2x1c3RlciAwMTIzNDU2Nzg5QUJD
REVGMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFOVsmkbbJAfcjUUqvTz3EmS4
OUJVB8cB9jnZLafXfNgXvXJekUtzjUjQeiNrQWJPWrG7WoblWilN0fhCLb7wsKNT
MFEwHQYDVR0OBBYEFMQ50/k9Zl+0jqOeFDUV4hYD8wpdMB8GA1UdIwQYMBaAFMQ5
0/k9Zl+0jqOeFDUV4hYD8wpdMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwID
SAAwRQIgKTO0wLu6UB7D3ZG4qFEP4m6XghvHz9im4AWcAjUGXOcCIQD/r8hyMkn2
amcuFYQrlGw8Pi0lhU0YHWxjVLGj/dHAbA==
-----END CERTIFICATE-----
`

func TestSubjectHashIsOpenSSLs(t *testing.T) {
	if got, err := subjectHash(fixedCA); err != nil || got != "8249f0b2" {
		t.Fatalf("got %s, %v", got, err)
	}
	a, err := identity.NewAuthority("paas  Cluster 0123456789abcdef", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := subjectHash(a.CertificatePEM()); err != nil || len(got) != 8 {
		t.Fatalf("got %s, %v", got, err)
	}
	if _, err := subjectHash("nothing"); err == nil {
		t.Fatal("no certificate has a hash")
	}
}

func TestPinComesFromTheContextOrTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "ca.pem", "another PEM")
	files := settings{filepath.Join(dir, "home")}
	if err := files.put(&target{name: "dev", server: "https://h:1", token: "a", ca: "dev PEM"}, makeCurrent); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PAAS_HOME": files.dir}
	find := func(flags ...string) (*target, error) {
		p := &program{root: verbs(), env: func(k string) string { return env[k] }}
		in, err := p.ps(flags)
		if err != nil {
			t.Fatal(err)
		}
		return in.findTarget()
	}
	if got, err := find(); err != nil || got.ca != "dev PEM" || got.token != "a" {
		t.Fatalf("context: %+v, %v", got, err)
	}
	env["PAAS_TOKEN"], env["PAAS_CA_FILE"] = "b", filepath.Join(dir, "ca.pem")
	if got, err := find(); err != nil || got.ca != "another PEM" || got.token != cluster.Redacted("b") || got.server != "https://h:1" {
		t.Fatalf("replaced by the environment: %+v, %v", got, err)
	}
	env["PAAS_SERVER"] = "https://env:2"
	if got, err := find(); err != nil || got.server != "https://env:2" || got.name != "" {
		t.Fatalf("server of the environment: %+v, %v", got, err)
	}
	if got, err := find("-c", "dev"); err != nil || got.server != "https://h:1" {
		t.Fatalf("the flag is stronger: %+v, %v", got, err)
	}
	env["PAAS_CONTEXT"] = "nosuch"
	delete(env, "PAAS_SERVER")
	if _, err := find(); exitCode(err) != exitNotFound {
		t.Fatalf("unknown context: %v", err)
	}
}
