package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// imageServers answer for nodes by ID; others cannot be reached.
type imageServers map[cluster.NodeID]http.HandlerFunc

// RoundTrip implements http.RoundTripper. A handler that panics breaks the answer off.
func (s imageServers) RoundTrip(r *http.Request) (*http.Response, error) {
	h := s[cluster.NodeID(r.URL.Host)]
	if h == nil {
		return nil, &NotSentError{errors.New("nobody is there")}
	}
	rec := httptest.NewRecorder()
	broken := func() (broken bool) {
		defer func() { broken = recover() != nil }()
		h(rec, r)
		return false
	}()
	resp := rec.Result()
	if n := resp.Header.Get("Content-Length"); n != "" {
		_, _ = fmt.Sscan(n, &resp.ContentLength)
	}
	if broken {
		resp.Body = io.NopCloser(io.MultiReader(rec.Body, errorReader{}))
	}
	return resp, nil
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// has serves data, in part if that is asked for.
func has(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

// breaks serves data and breaks off after n bytes of its answer.
func breaks(data []byte, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		has(data)(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
		panic("broken off")
	}
}

func lacks(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) }

func fails(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no", http.StatusInternalServerError)
}

func contentOf(data []byte) cluster.Content {
	return cluster.Content{Repository: "apps/blog", Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data))}
}

func TestImageSource(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 10_000)
	wrong := bytes.Clone(data)
	wrong[7] ^= 1
	for name, x := range map[string]struct {
		servers imageServers
		kind    cluster.Kind // of the error; KindInternal means none
		calls   int          // of take
	}{
		"the first has it":                    {imageServers{"a": has(data)}, 0, 1},
		"the second has it":                   {imageServers{"a": lacks, "b": has(data)}, 0, 1},
		"the first is away":                   {imageServers{"b": has(data)}, 0, 1},
		"the first fails":                     {imageServers{"a": fails, "b": has(data)}, 0, 1},
		"one breaks off, the next goes on":    {imageServers{"a": breaks(data, 100), "b": has(data)}, 0, 1},
		"all but the last break off":          {imageServers{"a": breaks(data, 100), "b": breaks(data, 5000), "c": has(data)}, 0, 1},
		"the last byte is missing":            {imageServers{"a": breaks(data, len(data)-1), "b": has(data)}, 0, 1},
		"one lies":                            {imageServers{"a": has(wrong), "b": has(data)}, 0, 2},
		"one lies and breaks off":             {imageServers{"a": breaks(wrong, 100), "b": has(data), "c": has(data)}, 0, 2},
		"one has more":                        {imageServers{"a": has(append(bytes.Clone(data), 'x')), "b": has(data)}, 0, 2},
		"nobody has it":                       {imageServers{"a": lacks, "b": lacks, "c": lacks}, cluster.KindNotFound, 0},
		"nobody that can be asked has it":     {imageServers{"a": lacks, "b": lacks}, cluster.KindUnavailable, 0},
		"all lie":                             {imageServers{"a": has(wrong), "b": has(wrong), "c": has(wrong)}, cluster.KindUnavailable, 3},
		"the only one that has it breaks off": {imageServers{"a": lacks, "b": breaks(data, 100), "c": lacks}, cluster.KindUnavailable, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewImageSource(x.servers, func() []cluster.NodeID { return []cluster.NodeID{"a", "b", "c"} })
			calls := 0
			var got []byte
			err := s.Fetch(t.Context(), contentOf(data), func(body io.Reader, size int64) (err error) {
				calls++
				got, err = io.ReadAll(body)
				return err
			})
			if kind := cluster.KindOf(err); err != nil && kind != x.kind || err == nil && x.kind != 0 || calls != x.calls {
				t.Errorf("%v after %d calls", err, calls)
			}
			if err == nil && !bytes.Equal(got, data) {
				t.Errorf("got %d bytes", len(got))
			}
		})
	}
}

// TestImageSourceKeepsAwayFromWhoFailed asks again a moment later, and much later.
func TestImageSourceKeepsAwayFromWhoFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		data := []byte("hello")
		var asked []string
		note := func(id string, h http.HandlerFunc) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) { asked = append(asked, id); h(w, r) }
		}
		s := NewImageSource(imageServers{"a": note("a", fails), "b": note("b", has(data))}, func() []cluster.NodeID { return []cluster.NodeID{"a", "b"} })
		for _, want := range []string{"a b", "b", "a b"} {
			asked = nil
			if err := s.Fetch(t.Context(), contentOf(data), func(body io.Reader, _ int64) error { _, err := io.ReadAll(body); return err }); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(asked, " "); got != want {
				t.Errorf("asked %s instead of %s", got, want)
			}
			if want == "b" {
				time.Sleep(imageDoubt)
			}
		}
	})
}

// TestImageSourceLeavesWhoStalls has a server whose process was stopped in the middle.
func TestImageSourceLeavesWhoStalls(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1000)
	synctest.Test(t, func(t *testing.T) {
		stalls := roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "a" {
				return &http.Response{StatusCode: http.StatusOK, ContentLength: int64(len(data)), Body: io.NopCloser(io.MultiReader(bytes.NewReader(data[:10]), untilDone{r.Context()}))}, nil
			}
			return imageServers{"b": has(data)}.RoundTrip(r)
		})
		s := NewImageSource(stalls, func() []cluster.NodeID { return []cluster.NodeID{"a", "b"} })
		began := time.Now()
		err := s.Fetch(t.Context(), contentOf(data), func(body io.Reader, _ int64) error { _, err := io.ReadAll(body); return err })
		if took := time.Since(began); err != nil || took > imageStall {
			t.Errorf("%v after %s", err, took)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// untilDone is a reader that says nothing until its context ends.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

// TestImageSourceEndsWithItsTaker has a full disk at the taker's.
func TestImageSourceEndsWithItsTaker(t *testing.T) {
	data, full := []byte("hello"), errors.New("disk full")
	s := NewImageSource(imageServers{"a": has(data), "b": has(data)}, func() []cluster.NodeID { return []cluster.NodeID{"a", "b"} })
	calls := 0
	err := s.Fetch(t.Context(), contentOf(data), func(io.Reader, int64) error { calls++; return full })
	if !errors.Is(err, full) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}
