package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whatever address a server was reached at, it is known by its certificate: what it is
// asked is for "paas".
func TestClientsThatKnowTheAuthorityNameNoAddress(t *testing.T) {
	hosts := make(chan string, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		w.WriteHeader(http.StatusTeapot)
	}))
	defer s.Close()
	c, err := NewClient(ClientConfig{URL: s.URL, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Apps(t.Context()) // both are refused
	if got := await(t, "a question", hosts); got != pinnedHost {
		t.Errorf("asked for %q", got)
	}
	_, _ = c.Exec(t.Context(), ExecRequest{App: "blog"}, nil)
	if got := await(t, "a terminal", hosts); got != pinnedHost {
		t.Errorf("asked for %q", got)
	}
}

// Guessing is slow, whichever secret is guessed at, and who has the right one is
// let in all the same.
func TestGuessedJoinStringsAreThrottled(t *testing.T) {
	s := newServer(t)
	body := func(secret string) string {
		return `{"id":"0123456789ab","secret":"` + secret + `","csr":"eA==","role":"agent","name":"host","zone":"a","address":""}`
	}
	seen := map[int]int{}
	for range 100 {
		res, _ := s.ask(t, http.MethodPost, "/v1/join", "", jsonType, body("wrong"))
		seen[res.StatusCode]++
	}
	if seen[http.StatusUnauthorized] < throttleBurst || seen[http.StatusTooManyRequests] < 100-2*throttleBurst || len(seen) != 2 {
		t.Errorf("100 guesses were answered %v", seen)
	}
	if res, _ := s.ask(t, http.MethodGet, "/v1/apps", "wrong", "", ""); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a wrong token after them: %d", res.StatusCode)
	}
	if res, text := s.ask(t, http.MethodPost, "/v1/join", "", jsonType, body("good")); res.StatusCode != http.StatusOK {
		t.Errorf("the right secret: %d %s", res.StatusCode, text)
	}
}

func TestStrangersCannotSendMuch(t *testing.T) {
	s := newServer(t)
	for name, x := range map[string]struct {
		media, body string
		want        int
	}{
		"large":         {jsonType, `{"secret":"` + strings.Repeat("x", maxPublicBody) + `"}`, http.StatusRequestEntityTooLarge},
		"a form":        {"application/x-www-form-urlencoded", "a=b", http.StatusUnsupportedMediaType},
		"nothing in it": {jsonType, "{}", http.StatusUnprocessableEntity},
		"another role":  {jsonType, `{"id":"0123456789ab","secret":"good","csr":"eA==","role":"root","name":"h","zone":"a","address":""}`, http.StatusUnprocessableEntity},
	} {
		if res, text := s.ask(t, http.MethodPost, "/v1/join", "", x.media, x.body); res.StatusCode != x.want {
			t.Errorf("%s: got %d %s, want %d", name, res.StatusCode, text, x.want)
		}
	}
}
