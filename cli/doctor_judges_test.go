package cli

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"paas/cluster"
)

// expect compares a finding with the state it should have and with what it should
// say and advise.
func expect(t *testing.T, name string, got finding, state, says, do string) {
	t.Helper()
	if got.State != state || !strings.Contains(got.Text, says) || !strings.Contains(got.Do, do) || (state != "ok") != (got.Do != "") {
		t.Errorf("%s: got %+v, want %s, %q, %q", name, got, state, says, do)
	}
}

func TestDoctorTellsWhatIsWrongWithDocker(t *testing.T) {
	good := engineFacts{Socket: "/var/run/docker.sock", Version: "24.0.1", API: "1.43", LeastAPI: "1.12"}
	for name, c := range map[string]struct {
		change    func(*engineFacts)
		says, why string
		do        string
	}{
		"missing": {func(f *engineFacts) { f.Dial = fs.ErrNotExist }, "is not installed", "no dockerd", "apt-get install docker.io"},
		"stopped": {func(f *engineFacts) { f.Dial, f.Installed = fs.ErrNotExist, true }, "does not run", "/var/run/docker.sock", "systemctl start docker"},
		"crashed": {func(f *engineFacts) { f.Dial = syscall.ECONNREFUSED }, "does not run", "refused", "journalctl -u docker"},
		"hung":    {func(f *engineFacts) { f.Ask = context.DeadlineExceeded }, "does not answer", "deadline", "systemctl restart docker"},
		"permission": {func(f *engineFacts) { f.Dial = fs.ErrPermission }, "may not use Docker Engine", "permission denied on /var/run/docker.sock",
			"usermod -aG docker $USER"},
		"joined":  {func(f *engineFacts) { f.Dial, f.Joined = fs.ErrPermission, true }, "may not use Docker Engine yet", "after this session began", "newgrp docker"},
		"old":     {func(f *engineFacts) { f.Version, f.API = "18.09.1", "1.39" }, "18.09.1 is too old", "its API is 1.39; 1.40 is needed", "install a newer one"},
		"new":     {func(f *engineFacts) { f.Version, f.LeastAPI = "99.0.0", "1.99" }, "99.0.0 is too new", "begins with 1.99", "newer paas"},
		"another": {func(f *engineFacts) { f.Host, f.Dial = "unix:///x.sock", fs.ErrNotExist }, "No", "", "DOCKER_HOST is unix:///x.sock"},
	} {
		f := good
		c.change(&f)
		err := judgeEngine(f)
		if err == nil {
			t.Errorf("%s: nothing is wrong", name)
			continue
		}
		e := asError(err)
		if !strings.Contains(strings.ToUpper(e.Message), strings.ToUpper(c.says)) || !strings.Contains(e.Reason, c.why) || !strings.Contains(e.Hint, c.do) {
			t.Errorf("%s: got %q, %q, %q", name, e.Message, e.Reason, e.Hint)
		}
	}
	if err := judgeEngine(good); err != nil {
		t.Error(err)
	}
	if err := judgeEngine(engineFacts{Version: "dev", API: "", LeastAPI: ""}); err != nil {
		t.Errorf("an engine that does not say its API: %v", err)
	}
}

// TestDoctorAsksTheEngineItself: the facts come from a socket and HTTP, here of
// engines that are older than any.
func TestDoctorAsksTheEngineItself(t *testing.T) {
	at := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.30")
		_, _ = io.WriteString(w, `{"Version":"17.06.0","ApiVersion":"1.30","MinAPIVersion":"1.12"}`)
	}))
	_ = srv.Listener.Close() // ours instead
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	t.Setenv("DOCKER_HOST", "unix://"+at)
	if version, err := checkEngine(t.Context()); version != "17.06.0" || err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("got %q, %v", version, err)
	}
	f := askEngine(t.Context())
	if f.Socket != at || f.Dial != nil || f.Ask != nil || f.API != "1.30" || f.LeastAPI != "1.12" {
		t.Errorf("got %+v", f)
	}
}

func TestDoctorKnowsHowMuchMemoryIsLittle(t *testing.T) {
	const total = 8 << 30
	for _, c := range []struct {
		f               memoryFacts
		state, says, do string
	}{
		{memoryFacts{AvailableBytes: 2 << 30, TotalBytes: total}, "ok", "2.0 GiB of memory", ""},
		{memoryFacts{AvailableBytes: 511 << 20, TotalBytes: total}, "warning", "511 of 8192 MiB of memory are available", "paas scale"},
		{memoryFacts{AvailableBytes: 40 << 20, TotalBytes: total}, "broken", "the kernel will end processes", "ps aux --sort -rss"},
	} {
		expect(t, "memory", judgeMemory(c.f), c.state, c.says, c.do)
	}
	if f := judgeMemory(memoryFacts{Err: errors.New("no proc")}); f.State != "warning" || !strings.Contains(f.Text, "no proc") {
		t.Errorf("got %+v", f)
	}
	root := t.TempDir()
	if f := readMemory(root); f.Err == nil {
		t.Errorf("nothing to read: %+v", f)
	}
	put(t, root, "proc/meminfo", "MemTotal:        2048 kB\nMemFree:  1 kB\n")
	if f := readMemory(root); f.Err == nil {
		t.Errorf("an old kernel: %+v", f)
	}
	put(t, root, "proc/meminfo", "MemTotal:        2048 kB\nMemFree:  1 kB\nMemAvailable:    1024 kB\n")
	if f := readMemory(root); f != (memoryFacts{AvailableBytes: 1 << 20, TotalBytes: 2 << 20}) {
		t.Errorf("got %+v", f)
	}
}

func TestDoctorKnowsHowMuchDiskIsLittle(t *testing.T) {
	const gb = 1 << 30
	of := func(total, free int64) diskFacts {
		return diskFacts{Space: cluster.Space{Path: "/var", TotalBytes: total, FreeBytes: free}}
	}
	files := of(100*gb, 50*gb)
	files.TotalFiles, files.FreeFiles = 1000, 20
	readOnly := of(100*gb, 50*gb)
	readOnly.ReadOnly = true
	for _, c := range []struct {
		f               diskFacts
		state, says, do string
	}{
		{of(100*gb, 50*gb), "ok", "50.0 GiB of disk are free at /var", ""},
		{of(100*gb, 15*gb), "warning", "builds stop at 90%", "docker builder prune"},
		{of(4*gb, gb), "warning", "75% full", "docker system df"}, // little is left of a small disk
		{of(100*gb, 8*gb), "broken", "nothing is built", "docker builder prune"},
		{of(100*gb, gb/8), "broken", "neither state nor images", "docker system df"},
		{files, "broken", "20 of 1000 files left", "docker system df"},
		{readOnly, "broken", "read-only", "dmesg"},
	} {
		expect(t, "disk", judgeDisk(c.f), c.state, c.says, c.do)
	}
	dir := t.TempDir()
	got := readDisks(filepath.Join(dir, "not", "yet"), dir, "")
	if len(got) != 1 || got[0].TotalBytes <= 0 || got[0].Path != dir {
		t.Errorf("got %+v", got)
	}
}

func TestDoctorFindsAClockThatIsWrongEitherWay(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		f               clockFacts
		state, says, do string
	}{
		"right":                   {clockFacts{Newest: now.Add(-time.Hour), Server: now.Add(-time.Second)}, "ok", "2026-03-01T12:00:00Z", ""},
		"not synchronised":        {clockFacts{Free: true}, "warning", "no NTP", "timedatectl set-ntp true"},
		"behind the state":        {clockFacts{Newest: now.Add(10 * time.Second)}, "warning", "10s behind the newest event", "set-ntp"},
		"far behind the state":    {clockFacts{Newest: now.Add(time.Hour)}, "broken", "1h0m0s behind the newest event", "set-ntp"},
		"behind the server":       {clockFacts{Server: now.Add(time.Minute)}, "warning", "1m0s behind the server's", "set-ntp"},
		"ahead of the server":     {clockFacts{Server: now.Add(-time.Minute), Newest: now.Add(-time.Hour)}, "warning", "1m0s ahead of the server's", "set-ntp"},
		"far ahead":               {clockFacts{Server: now.Add(-48 * time.Hour)}, "broken", "48h0m0s ahead", "if it is the server's"},
		"ahead, or a slow answer": {clockFacts{Server: now.Add(-8 * time.Second), Took: 3 * time.Second}, "ok", "", ""},
		"ahead of the hardware":   {clockFacts{Free: true, Hardware: now.Add(-40 * time.Minute)}, "warning", "40m0s ahead of the hardware's", "hwclock --systohc"},
		"behind the hardware":     {clockFacts{Free: true, Hardware: now.Add(400 * 24 * time.Hour)}, "warning", "behind the hardware's", "hwclock"},
		"hardware in local time":  {clockFacts{Free: true, Hardware: now.Add(5*time.Hour + 30*time.Minute)}, "warning", "no NTP", "set-ntp"},
		"kept, bad hardware":      {clockFacts{Hardware: now.Add(-40 * time.Minute)}, "ok", "", ""},
	} {
		c.f.Now = now
		expect(t, name, judgeClock(c.f), c.state, c.says, c.do)
	}
	root := t.TempDir()
	put(t, root, "sys/class/rtc/rtc0/since_epoch", "1772366400\n")
	if f := readClock(root, now); !f.Hardware.Equal(now) || !f.Now.Equal(now) {
		t.Errorf("got %+v", f)
	}
}

func TestDoctorFindsCertificatesThatEnd(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	of := func(before, after time.Duration, do string) certFacts {
		return certFacts{Of: "x", NotBefore: now.Add(before), NotAfter: now.Add(after), Do: do}
	}
	for name, c := range map[string]struct {
		f               certFacts
		state, says, do string
	}{
		"node":                {of(-10*day, 20*day, renewsNode), "ok", "good until 2026-03-21 12:00 UTC", ""},
		"node, being renewed": {of(-21*day, 9*day, renewsNode), "ok", "", ""},
		"node, not renewed":   {of(-26*day, 4*day, renewsNode), "warning", "expires at 2026-03-05 12:00 UTC and should have been renewed", "systemctl restart paas"},
		"node, expired":       {of(-40*day, -10*day, renewsNode), "broken", "expired at 2026-02-19 12:00 UTC", "date -u"},
		"edge, not renewed":   {of(-80*day, 10*day, renewsEdge), "warning", "should have been renewed", "journalctl -u paas"},
		"ACME, not renewed":   {of(-80*day, 10*day, renewsACME), "warning", "should have been renewed", "ports 80 and 443"},
		"ACME, of six days":   {of(-3*day, 3*day, renewsACME), "ok", "", ""},
		"none":                {certFacts{Of: "x", Err: errors.New("unrecognized name"), Do: renewsACME}, "broken", "unrecognized name", "ports 80 and 443"},
		"not yet":             {of(day, 31*day, renewsNode), "broken", "begins at 2026-03-02 12:00 UTC, and this clock says 2026-03-01", "set-ntp"},
		"authority":           {of(-3600*day, 50*day, renewsNode), "ok", "", ""},
	} {
		expect(t, name, judgeCertificate(c.f, now), c.state, c.says, c.do)
	}
	both := judgeCertificates([]certFacts{of(-day, 20*day, renewsNode), of(-day, 10*day, renewsNode)}, now)
	if len(both) != 1 || !strings.Contains(both[0].Text, "2026-03-11") {
		t.Errorf("got %+v", both)
	}
}

// selfSigned is a certificate for anybody, good from one time to another.
func selfSigned(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestDoctorSeesWhatServersShow: an expired certificate is read, and not only
// refused, and the clock of who shows it is read from the same answer.
func TestDoctorSeesWhatServersShow(t *testing.T) {
	expired := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || r.Header.Get("Authorization") != "" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Date", expired.Format(http.TimeFormat))
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, expired.Add(-time.Hour), expired)}}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	got, err := probeServer(t.Context(), srv.URL)
	if err != nil || !got.cert.NotAfter.Equal(expired) || !got.clock.Equal(expired) {
		t.Fatalf("got %+v, %v", got, err)
	}
	addr := netip.MustParseAddrPort(srv.Listener.Addr().String())
	dead := netip.MustParseAddr("127.0.0.9")
	hosts := []servedHost{{"shop.example.com", "acme", []netip.Addr{dead, addr.Addr()}}, {"nowhere.example.com", "internal", []netip.Addr{dead}}}
	certs := probeHosts(t.Context(), hosts, int(addr.Port()))
	if len(certs) != 1 || certs[0].Of != "shop.example.com" || !certs[0].NotAfter.Equal(expired) || certs[0].Do != renewsACME {
		t.Errorf("got %+v", certs)
	}
	mute := httptest.NewServer(http.NotFoundHandler()) // no TLS at all
	defer mute.Close()
	addr = netip.MustParseAddrPort(mute.Listener.Addr().String())
	certs = probeHosts(t.Context(), []servedHost{{"shop.example.com", "internal", []netip.Addr{addr.Addr()}}}, int(addr.Port()))
	if len(certs) != 1 || certs[0].Err == nil {
		t.Errorf("got %+v", certs)
	}
}

func TestDoctorReadsTheNodesCertificate(t *testing.T) {
	dir := t.TempDir()
	if got := readNodeCertificate(dir); got != nil {
		t.Errorf("nothing there: %+v", got)
	}
	end := time.Now().Add(time.Hour).Truncate(time.Second).UTC()
	c := selfSigned(t, end.Add(-2*time.Hour), end)
	put(t, dir, "node/node.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	if got := readNodeCertificate(dir); len(got) != 1 || !got[0].NotAfter.Equal(end) || got[0].Do != renewsNode {
		t.Errorf("got %+v", got)
	}
	put(t, dir, "node/node.pem", "zeros")
	got := readNodeCertificate(dir)
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	expect(t, "damaged", judgeCertificate(got[0], time.Now()), "broken", "it is no certificate", "paas backup restore --help")
}

func TestDoctorLooksAtThePortsOfTheState(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	r := &upRecord{HTTP: l.Addr().String(), HTTPS: "127.0.0.1:0", Listen: "127.0.0.1:0"}
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	got := checkPorts(dir)
	if len(got) != 1 {
		t.Fatalf("got %+v", got)
	}
	expect(t, "a server's", got[0], "warning", r.HTTP+" is in use", "paas server --http ADDRESS")
	r.Context = devContext
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	expect(t, "up's", checkPorts(dir)[0], "warning", r.HTTP+" is in use by ", "paas up --http ADDRESS")
	r.PID, r.Began = os.Getpid(), beginOf(os.Getpid())
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	expect(t, "its own", checkPorts(dir)[0], "ok", "has its ports", "")
}
