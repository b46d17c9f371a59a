package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"paas/cluster"
	"paas/identity"
)

// Whatever address a server was reached at, it is known by its certificate: the
// request is for "paas", which real servers answer to and this one does not.
func TestHostThatJoinsNamesNoAddress(t *testing.T) {
	s := newServer(t)
	_, err := s.client(t, "").Join(t.Context(), JoinRequest{ID: "0123456789ab", Secret: "good", Role: identity.RoleAgent})
	if e := (*cluster.Error)(nil); !errors.As(err, &e) || e.Code != "host" {
		t.Errorf("got %v, want the host name refused", err)
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
