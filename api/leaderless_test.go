package api

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"paas/cluster"
)

// newMember answers as a server of a cluster does: one that knows no leader refuses
// all but what may be old.
func newMember(t *testing.T, leader string) (address string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.RequestURI())
		switch {
		case leader == "" && !IsLocal(r):
			WriteProblem(w, cluster.Errorf(cluster.KindUnavailable, CodeNoLeader, "the cluster has no leader right now"), "")
		case r.URL.Path == "/v1/status":
			_ = json.NewEncoder(w).Encode(ClusterStatus{Leader: leader, Servers: 3})
		default:
			_ = json.NewEncoder(w).Encode([]AppInfo{})
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://"), asked
}

// askingAll is a client of the first of these servers.
func askingAll(t *testing.T, told *error, addresses ...string) *Client {
	t.Helper()
	// Each test server has a certificate of its own.
	trust := &tls.Config{InsecureSkipVerify: true}
	cfg := ClientConfig{URL: "https://" + addresses[0], Others: addresses, TLS: trust}
	if told != nil {
		cfg.LastKnown = func(why error) { *told = why }
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestServerWithoutLeaderIsLeft: one that was cut off or removed answers, and others
// know better.
func TestServerWithoutLeaderIsLeft(t *testing.T) {
	alone, askedAlone := newMember(t, "")
	alsoAlone, _ := newMember(t, "")
	led, _ := newMember(t, "h2")
	c := askingAll(t, nil, alone, alsoAlone, led)
	for range 2 {
		if _, err := c.CreateApp(t.Context(), CreateApp{Name: "blog"}); err == nil {
			t.Fatal("this server answers with a list")
		} else if leaderless(err) {
			t.Fatal(err)
		}
	}
	changes := slices.DeleteFunc(*askedAlone, func(line string) bool { return strings.HasPrefix(line, "GET") })
	if len(changes) != 1 {
		t.Errorf("the server without a leader was asked again: %v", changes)
	}
}

// TestQuestionIsAskedAgain of a server that lost the lead while it looked; a change is not.
func TestQuestionIsAskedAgain(t *testing.T) {
	asked := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		WriteProblem(w, cluster.Errorf(cluster.KindUnavailable, "not_leader", "this server does not lead the cluster"), "")
	}))
	t.Cleanup(s.Close)
	c := askingAll(t, nil, strings.TrimPrefix(s.URL, "https://"))
	if _, err := c.Joins(t.Context()); err == nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
	asked = 0
	if _, err := c.CreateApp(t.Context(), CreateApp{Name: "blog"}); err == nil || asked != 1 {
		t.Errorf("asked for a change %d times, %v", asked, err)
	}
}

// TestPatienceIsAQuestions, and never more than the server's own.
func TestPatienceIsAQuestions(t *testing.T) {
	const most = 10 * time.Second
	for _, c := range []struct {
		method, says string
		want         time.Duration
	}{{"GET", "3s", 3 * time.Second}, {"HEAD", "0s", 0}, {"GET", "", most}, {"GET", "1h", most}, {"GET", "-1s", most}, {"GET", "soon", most}, {"POST", "3s", most}} {
		r := httptest.NewRequest(c.method, "/v1/apps", nil)
		r.Header.Set(headerPatience, c.says)
		if got := Patience(r, most); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.method, c.says, got, c.want)
		}
	}
}

// TestLastKnownIsToldAsSuch: with no leader anywhere a question is answered from one
// server's copy, if its caller takes that; a change never is.
func TestLastKnownIsToldAsSuch(t *testing.T) {
	alone, _ := newMember(t, "")
	other, _ := newMember(t, "")
	if _, err := askingAll(t, nil, alone, other).Status(t.Context()); !leaderless(err) {
		t.Errorf("nobody asked for old news: %v", err)
	}
	var told error
	c := askingAll(t, &told, alone, other)
	st, err := c.Status(t.Context())
	if err != nil || st.Servers != 3 || !leaderless(told) {
		t.Errorf("%+v, %v, told %v", st, err, told)
	}
	told = nil
	if _, err := c.CreateApp(t.Context(), CreateApp{Name: "blog"}); !leaderless(err) || told != nil {
		t.Errorf("a change without a leader: %v, told %v", err, told)
	}
}
