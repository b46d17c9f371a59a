package agent

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

func TestCheckReplica(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			w.WriteHeader(http.StatusNoContent)
		case "/moved":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer app.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	_, deadPort, _ := net.SplitHostPort(dead)
	_ = l.Close()
	address := app.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for _, c := range []struct {
		check   cluster.Check
		address string
		want    string
	}{
		{cluster.Check{Kind: cluster.CheckTCP}, address, ""},
		{cluster.Check{Kind: cluster.CheckTCP}, dead, "port " + deadPort + " refuses connections"},
		{cluster.Check{Kind: cluster.CheckTCP}, "", "has no address"},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/ok"}, address, ""},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/moved"}, address, ""},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/down"}, address, "GET /down answered 503"},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/ok"}, dead, "port " + deadPort + " refuses connections"},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/slow"}, address, "port " + port + " did not answer in time"},
		{cluster.Check{Kind: cluster.CheckHTTP, Path: "/%zz"}, address, "cannot ask for /%zz"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		got := ""
		if err := checkReplica(ctx, c.check, c.address); err != nil {
			got = err.Error()
		}
		cancel()
		if got != c.want {
			t.Errorf("%s %s: got %q, want %q", c.check.Kind, c.check.Path, got, c.want)
		}
	}
}

func TestParseListening(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B00007F:8E1D 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
   3: 020011AC:1F90 010011AC:D431 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 100 0 0 10 0
   4: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0 0 0
   5: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 0 0 0
   6: garbage
   7: 00000000:zzzz x 0A
`
	want := []string{"3000", "localhost:8080", "80", "localhost:81"}
	if got := parseListening(table); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParseListening(f *testing.F) {
	f.Add("0: 00000000:0BB8 00000000:0000 0A")
	f.Fuzz(func(t *testing.T, table string) {
		for _, p := range parseListening(table) {
			if strings.ContainsAny(p, " \n") {
				t.Errorf("%q", p)
			}
		}
	})
}

func FuzzParseLogEntry(f *testing.F) {
	f.Add("2026-11-24T09:14:09.110865418Z hello\r\n")
	f.Add("2026-11-24T09:14:09Z \xff")
	f.Fuzz(func(t *testing.T, raw string) {
		e, err := parseLogEntry(raw, logEntry{})
		if err == nil && (len(e.Text) > 3*maxLogText || strings.ToValidUTF8(e.Text, "") != e.Text) {
			t.Errorf("%q", e.Text)
		}
	})
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0.0s", 812 * time.Millisecond: "0.8s", 42*time.Second + 300*time.Millisecond: "42s", 187 * time.Second: "3m7s"} {
		if got := span(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

func TestCapacityKeepsSomeForTheHost(t *testing.T) {
	for _, c := range []struct{ memory, cpus, wantMemory, wantMilli int64 }{
		{512 << 20, 1, 384 << 20, 900},
		{2 << 30, 2, 1792 << 20, 1800},
		{8 << 30, 4, 8<<30 - 8<<30/10, 3600},
		{256 << 30, 64, 254 << 30, 63500},
		{0, 0, 0, 0},
	} {
		if m, cpu := capacity(c.memory, int(c.cpus)); m != c.wantMemory || cpu != c.wantMilli {
			t.Errorf("%d bytes, %d CPUs: got %d, %d, want %d, %d", c.memory, c.cpus, m, cpu, c.wantMemory, c.wantMilli)
		}
	}
}
