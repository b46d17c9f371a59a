package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"paas/cluster"
)

// ClientConfig says where the API is and who asks.
type ClientConfig struct {
	// URL is the server's address: "https://127.0.0.1:7443". Plain http is for
	// loopback only: a token is never sent in the clear.
	URL   string
	Token cluster.Redacted
	// TLS is how the server is known, usually identity.PinnedConfig; nil: the
	// system's roots.
	TLS *tls.Config
	// Others are more servers of the cluster, host:port, for when the one of URL cannot
	// be reached. They have to be known by TLS, not by the system's roots.
	Others []string
	// Learned is told which servers the cluster has, with every answer of one that has
	// several, and which of them answered; nil does not care.
	Learned func(servers []string, from string)
	// Stale asks for reads that any server may answer from its own copy.
	Stale bool
	// LastKnown is told that no server leads, as the error says, when what is returned
	// for a question is what one server knew last; nil: such a question fails.
	LastKnown func(why error)
	Version   string // of the program, for the User-Agent
}

// Client is the API over HTTP: it satisfies every interface of Services. It is
// safe for concurrent use.
type Client struct {
	base    *url.URL
	config  ClientConfig
	way     *way
	agent   string
	http    *http.Client
	upgrade *http.Client // HTTP/1.1 only: WebSockets need it
}

var (
	_ AppService      = (*Client)(nil)
	_ ProcessService  = (*Client)(nil)
	_ ConfigService   = (*Client)(nil)
	_ ReleaseService  = (*Client)(nil)
	_ DeployService   = (*Client)(nil)
	_ BuildService    = (*Client)(nil)
	_ LogService      = (*Client)(nil)
	_ TerminalService = (*Client)(nil)
	_ DomainService   = (*Client)(nil)
	_ VolumeService   = (*Client)(nil)
	_ EventService    = (*Client)(nil)
	_ NodeService     = (*Client)(nil)
	_ TokenService    = (*Client)(nil)
	_ JoinService     = (*Client)(nil)
	_ ClusterService  = (*Client)(nil)
)

const (
	dialTimeout = 5 * time.Second
	// answerTimeout is for the first byte of an answer once the request is out.
	answerTimeout = 30 * time.Second
	// patience is for requests whose answer waits for containers to stop.
	patience = 15 * time.Minute
	// streamSilence without even a heartbeat means that the server is gone.
	streamSilence = 3 * streamHeartbeat
	// maxAnswer bounds a JSON answer; maxProblem one that says what went wrong.
	maxAnswer  = 64 << 20
	maxProblem = 64 << 10
)

// NewClient makes a client. It connects when it is used.
func NewClient(cfg ClientConfig) (*Client, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil {
		return nil, cluster.Invalid("url", "the server's address is not valid").WithHint("an address looks like https://paas.example.com:7443")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, cluster.Invalid("url", "the server's address is not secure").Because("the token would be sent in the clear").
			WithHint("use https://" + u.Host)
	}
	u.Path, u.RawQuery, u.Fragment = strings.TrimSuffix(u.Path, "/"), "", ""
	w := &way{}
	transport := func(protocols ...string) *http.Transport {
		t := &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           cfg.dialer(u.Host, w),
			TLSHandshakeTimeout:   dialTimeout,
			ExpectContinueTimeout: 2 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
			Protocols:             new(http.Protocols),
		}
		if cfg.TLS != nil {
			t.TLSClientConfig = cfg.TLS.Clone()
		}
		t.TLSClientConfig.NextProtos = protocols
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(len(protocols) > 1)
		return t
	}
	return &Client{base: u, config: cfg, way: w, agent: strings.TrimSpace("paas " + cfg.Version),
		http:    &http.Client{Transport: transport("h2", "http/1.1"), CheckRedirect: noRedirect},
		upgrade: &http.Client{Transport: transport("http/1.1"), CheckRedirect: noRedirect},
	}, nil
}

// noRedirect keeps the token from travelling: this API never redirects.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && ip.IsLoopback())
}

// Services returns the client as every interface of the API.
func (c *Client) Services() Services { return Services{c, c, c, c, c, c, c, c, c, c, c, c, c, c, c} }

// Close gives idle connections back.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.upgrade.CloseIdleConnections()
}

// Routes lists the server's routes with the right that each demands.
func (c *Client) Routes(ctx context.Context) ([]Route, error) {
	return call[[]Route](ctx, c, request{path: "/v1/routes"})
}

// request is one request to be made.
type request struct {
	method string // GET if empty
	path   string // escaped
	query  url.Values
	in     any       // sent as JSON
	upload io.Reader // sent as it is, instead of in
	media  string    // of upload
	header http.Header
	wait   time.Duration // for the first byte of the answer; 0 means answerTimeout
	opened func()        // called when a stream was granted; may be nil
	stale  bool          // any server may answer, from its own copy
	brief  bool          // an old answer is taken soon, if nobody leads
}

// appPath builds "/v1/apps/NAME/…" with every part escaped.
func appPath(app cluster.AppName, parts ...string) string {
	return escapedPath("/v1/apps", append([]string{string(app)}, parts...)...)
}

func escapedPath(prefix string, parts ...string) string {
	for _, p := range parts {
		prefix += "/" + url.PathEscape(p)
	}
	return prefix
}

// call makes a request and decodes its JSON answer.
func call[T any](ctx context.Context, c *Client, q request) (T, error) {
	var out T
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q.brief = c.config.LastKnown != nil && !q.changes()
	res, err := c.open(ctx, q)
	if err != nil {
		if res, err = c.lastKnown(ctx, q, err); err != nil {
			return out, err
		}
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&out); err != nil {
		return out, c.broken(ctx, fmt.Errorf("read the answer: %w", err))
	}
	return out, nil
}

// send makes a request whose answer is nothing but its status.
func (c *Client) send(ctx context.Context, q request) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.open(ctx, q)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// copyTo makes a request and copies its answer to w.
func (c *Client) copyTo(ctx context.Context, q request, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.open(ctx, q)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	tee := &writeError{w: w}
	if _, err := io.Copy(tee, res.Body); err != nil {
		if tee.err != nil {
			return fmt.Errorf("write the answer: %w", tee.err)
		}
		return c.broken(ctx, err)
	}
	return nil
}

// writeError remembers whether it was the writing that went wrong.
type writeError struct {
	w   io.Writer
	err error
}

func (t *writeError) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.err = err
	return n, err
}

// open makes a request, of another server if the first one knows no leader, and
// returns its answer if it is a good one. ctx must last as long as the answer's body
// is read.
func (c *Client) open(ctx context.Context, q request) (*http.Response, error) {
	res, err := c.openOnce(ctx, q)
	if again(q, err) {
		res, err = c.openOnce(ctx, q)
	}
	if err != nil && q.upload == nil && c.ledElsewhere(ctx, err) { // an upload is gone
		return c.openOnce(ctx, q)
	}
	return res, err
}

func (c *Client) openOnce(ctx context.Context, q request) (*http.Response, error) {
	req, err := c.build(ctx, q)
	if err != nil {
		return nil, err
	}
	wait := q.wait
	if wait == 0 {
		wait = answerTimeout
	}
	ctx, cancel := context.WithCancelCause(ctx)
	clock := &answerClock{timer: time.AfterFunc(wait, func() { cancel(errNoAnswer) })}
	if q.upload != nil {
		clock.timer.Stop() // it starts when the upload is out
		req.Body = io.NopCloser(&atEOF{r: q.upload, then: func() { clock.start(wait) }})
	}
	res, err := c.http.Do(req.WithContext(ctx))
	clock.stop()
	if err != nil {
		if context.Cause(ctx) == errNoAnswer {
			err = errNoAnswer
		}
		err = c.unreachable(ctx, err)
		cancel(nil)
		return nil, err
	}
	c.learn(res.Header)
	if res.StatusCode >= 300 || res.StatusCode < 200 {
		defer cancel(nil)
		return nil, c.refused(res)
	}
	res.Body = &cancelBody{ReadCloser: res.Body, cancel: func() { cancel(nil) }}
	return res, nil
}

// answerClock limits the wait for an answer's first byte.
type answerClock struct {
	timer    *time.Timer
	mu       sync.Mutex
	answered bool // guarded by mu
}

func (a *answerClock) start(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.answered { // answers may begin before the upload ends
		a.timer.Reset(d)
	}
}

func (a *answerClock) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered = true
	a.timer.Stop()
}

var errNoAnswer = errors.New("no answer in time")

// cancelBody frees its request's context when it is closed.
type cancelBody struct {
	io.ReadCloser
	cancel func()
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// atEOF calls then when r ends.
type atEOF struct {
	r    io.Reader
	then func()
}

func (a *atEOF) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if err != nil {
		a.then()
	}
	return n, err
}

// build makes the HTTP request.
func (c *Client) build(ctx context.Context, q request) (*http.Request, error) {
	method, body, media := q.method, q.upload, q.media
	if method == "" {
		method = http.MethodGet
	}
	if body == nil && (method == http.MethodPost || method == http.MethodPatch || q.in != nil) {
		in := q.in
		if in == nil {
			in = struct{}{}
		}
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body, media = bytes.NewReader(encoded), jsonType
	}
	query := q.query
	if (c.config.Stale || q.stale) && method == http.MethodGet {
		if query == nil {
			query = url.Values{}
		}
		query.Set("stale", "true")
	}
	target := c.base.String() + q.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, cluster.Invalid("request", "the request cannot be made").Wrap(err)
	}
	for k, v := range q.header {
		req.Header[k] = v
	}
	if q.brief {
		req.Header.Set(headerPatience, briefly.String())
	}
	if c.config.TLS != nil { // which says who answers
		req.Host = pinnedHost
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if q.upload != nil {
		req.Header.Set("Expect", "100-continue") // a refusal comes before the upload
	}
	c.identify(req.Header)
	return req, nil
}

// identify adds who asks.
func (c *Client) identify(h http.Header) {
	h.Set("User-Agent", c.agent)
	if c.config.Token != "" {
		h.Set("Authorization", "Bearer "+c.config.Token.Reveal())
	}
}

// refused reads the error that the server answered with.
func (c *Client) refused(res *http.Response) error {
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // half a problem is still a status
	return decodeProblem(res.StatusCode, body)
}
