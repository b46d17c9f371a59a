package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"paas/cluster"
)

const (
	// imageStall is how long a server may say nothing while it sends content: its
	// process may be stopped while its kernel goes on.
	imageStall = 5 * time.Second
	// imageDoubt is how long a server that failed comes last.
	imageDoubt = 15 * time.Second
)

// ImageSource fetches pieces of images from the cluster's servers. It is safe for
// concurrent use.
type ImageSource struct {
	client  *http.Client
	servers func() []cluster.NodeID

	mu     sync.Mutex
	doubts map[cluster.NodeID]time.Time // when a server failed last; guarded by mu
}

// NewImageSource makes a source of what t reaches (see Dialer.Transport, with
// ALPNPeer); servers returns who may have an image, nearest first.
func NewImageSource(t http.RoundTripper, servers func() []cluster.NodeID) *ImageSource {
	return &ImageSource{client: &http.Client{Transport: t}, servers: servers, doubts: map[cluster.NodeID]time.Time{}}
}

// Fetch calls take with content as a server sends it, and its size in bytes. The
// content is whole and true once body ends with io.EOF; if a server breaks off,
// body goes on with what the next one has. When body turns out to be false, or
// nobody has the rest, take is to give up, and is called again with what the servers
// that were not asked yet have. Its own errors end Fetch. KindNotFound says that no server
// has the content, KindUnavailable that those that may have it could not be asked.
func (s *ImageSource) Fetch(ctx context.Context, c cluster.Content, take func(body io.Reader, size int64) error) error {
	f := &fetch{source: s, ctx: ctx, content: c, left: s.ranked()}
	defer f.close()
	for {
		if err := f.begin(); err != nil {
			return err
		}
		err := take(c.Verified(f, f.size), f.size)
		var wrong *cluster.DigestError
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &wrong):
			f.suspect(err, f.gave...)
		case f.broken == nil:
			return err
		}
	}
}

// ranked are the servers, those that failed lately last.
func (s *ImageSource) ranked() []cluster.NodeID {
	all := slices.Clone(s.servers())
	s.mu.Lock()
	defer s.mu.Unlock()
	rank := func(id cluster.NodeID) int {
		if at, failed := s.doubts[id]; failed && time.Since(at) < imageDoubt {
			return 1
		}
		delete(s.doubts, id)
		return 0
	}
	slices.SortStableFunc(all, func(a, b cluster.NodeID) int { return rank(a) - rank(b) })
	return all
}

func (s *ImageSource) doubt(id cluster.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubts[id] = time.Now()
}

// fetch is content on its way: the bytes that servers send, one after the other. It
// is an io.Reader.
type fetch struct {
	source  *ImageSource
	ctx     context.Context //nolint:containedctx // one call of Fetch, whose reader has no other way to get it
	content cluster.Content
	left    []cluster.NodeID // not asked yet
	gave    []cluster.NodeID // whose bytes were read since begin
	reasons []error          // of servers that did not do; those that lack the content give none

	body   io.ReadCloser
	cancel context.CancelFunc // ends the request behind body
	size   int64
	at     int64 // bytes read since begin
	broken error // nobody is left who could go on
}

// begin opens the content from its start.
func (f *fetch) begin() error {
	f.at, f.size, f.gave, f.broken = 0, -1, nil, nil
	return f.next()
}

// next opens the content at f.at, with the first server that has it.
func (f *fetch) next() error {
	f.close()
	for len(f.left) > 0 {
		node := f.left[0]
		f.left = f.left[1:]
		has, err := f.open(node)
		switch {
		case f.ctx.Err() != nil:
			return context.Cause(f.ctx)
		case err != nil:
			f.source.doubt(node)
			f.reasons = append(f.reasons, fmt.Errorf("server %s: %w", node, err))
		case has:
			f.gave = append(f.gave, node)
			return nil
		}
	}
	if len(f.reasons) == 0 {
		return cluster.NotFound("image_content", "no server has %s", f.content)
	}
	return cluster.Errorf(cluster.KindUnavailable, "image_content", "%s cannot be fetched from any server", f.content).
		Because("%v", errors.Join(f.reasons...))
}

// open asks one server; false says that it has no such content.
func (f *fetch) open(node cluster.NodeID) (has bool, err error) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer func() {
		if !has {
			cancel()
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+string(node)+f.content.Path(), nil)
	if err != nil {
		return false, err
	}
	if f.at > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.at))
	}
	stalled := time.AfterFunc(imageStall, cancel)
	defer stalled.Stop()
	resp, err := f.source.client.Do(req)
	if err != nil {
		return false, err
	}
	size, err := f.judge(resp)
	if err != nil || size < 0 {
		_ = resp.Body.Close() // there is nothing in it
		return false, err
	}
	f.body, f.cancel, f.size = resp.Body, cancel, size
	return true, nil
}

// judge returns the content's size by an answer, -1 if the server has none.
func (f *fetch) judge(resp *http.Response) (size int64, err error) {
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return -1, nil
	case f.at > 0 && resp.StatusCode == http.StatusOK:
		return 0, errors.New("it cannot go on in the middle")
	case f.at > 0 && resp.StatusCode == http.StatusPartialContent:
		size = f.at + resp.ContentLength
	case resp.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("it answers %s", resp.Status)
	default:
		size = resp.ContentLength
	}
	if resp.ContentLength < 0 || f.size >= 0 && size != f.size {
		return 0, errors.New("it says another size: " + strconv.FormatInt(size, 10))
	}
	return size, nil
}

// Read implements io.Reader. When a server breaks off another one goes on.
func (f *fetch) Read(p []byte) (int, error) {
	for f.broken == nil && f.at < f.size {
		stalled := time.AfterFunc(imageStall, f.cancel)
		n, err := f.body.Read(p)
		stalled.Stop()
		f.at += int64(n)
		if err != nil && f.at < f.size {
			f.suspect(fmt.Errorf("it broke off after %d of %d bytes: %w", f.at, f.size, err), f.gave[len(f.gave)-1])
			f.broken = f.next()
		}
		if n > 0 {
			return n, nil
		}
	}
	if f.broken != nil {
		return 0, f.broken
	}
	return 0, io.EOF
}

// suspect notes that what came from nodes was no good.
func (f *fetch) suspect(why error, nodes ...cluster.NodeID) {
	for _, node := range nodes {
		f.source.doubt(node)
	}
	f.reasons = append(f.reasons, fmt.Errorf("server %s: %w", nodes[len(nodes)-1], why))
}

// close ends the request under way.
func (f *fetch) close() {
	if f.body != nil {
		f.cancel()
		_ = f.body.Close() // what was needed of it was read
		f.body = nil
	}
}
