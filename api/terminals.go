package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"paas/cluster"
)

// TerminalService runs commands with streams attached, over one WebSocket each.
type TerminalService interface {
	// Run starts a new container of the current release; it is removed when the
	// command ends or the caller goes. It returns the command's exit code.
	Run(ctx context.Context, in RunRequest, t Terminal) (int, error)
	// Exec runs a command inside a live replica.
	Exec(ctx context.Context, in ExecRequest, t Terminal) (int, error)
}

// RunRequest is a one-off command.
type RunRequest struct {
	App     cluster.AppName             `json:"app"`
	Command []string                    `json:"command"` // argument vector
	TTY     bool                        `json:"tty,omitempty"`
	Rows    uint16                      `json:"rows,omitempty"`
	Cols    uint16                      `json:"cols,omitempty"`
	Env     map[string]cluster.Redacted `json:"env,omitempty"` // beside the release's config
	// Assignment is filled by the server for the agent that it asks.
	Assignment *Assignment `json:"assignment,omitempty"`
}

// ExecRequest is a command in a replica.
type ExecRequest struct {
	App      cluster.AppName `json:"app"`
	Instance string          `json:"instance"` // "web.1"
	Command  []string        `json:"command"`
	TTY      bool            `json:"tty,omitempty"`
	Rows     uint16          `json:"rows,omitempty"`
	Cols     uint16          `json:"cols,omitempty"`
	// Allocation is filled by the server for the agent that it asks.
	Allocation cluster.AllocationID `json:"allocation,omitempty"`
}

// FrameKind says what a Frame carries.
type FrameKind uint8

const (
	FrameUnknown FrameKind = iota
	FrameStdin             // Data; caller to command
	FrameEOF               // the caller's input ended
	FrameResize            // Rows, Cols
	FrameSignal            // Data is the name: "INT", "TERM"
	FrameStdout            // Data; command to caller
	FrameStderr            // Data
	FrameExit              // Code; last
	FrameError             // Error; last
)

// Frame is one message of a terminal, CBOR on the wire.
type Frame struct {
	Kind  FrameKind
	Data  []byte         `cbor:",omitempty"` // at most 32 KiB
	Rows  uint16         `cbor:",omitempty"`
	Cols  uint16         `cbor:",omitempty"`
	Code  int            `cbor:",omitempty"`
	Error *cluster.Error `cbor:",omitempty"`
}

// Terminal is one end of an attached command. Recv and Send may be called from
// different goroutines; each is called by one at a time. Both return soon after
// ctx ended. What ends a command, FrameExit and FrameError, is for the wire: Run
// and Exec return it, and neither send nor receive it here.
type Terminal interface {
	// Recv returns the other side's next frame; io.EOF when it went away.
	Recv(ctx context.Context) (Frame, error)
	Send(ctx context.Context, f Frame) error
}

const (
	// maxRequestFrame bounds the first message, which carries arguments and
	// environment; maxFrame all others.
	maxRequestFrame = 1 << 20
	maxFrame        = 64 << 10
	// terminalPing is how often a caller is asked whether it is still there, and
	// terminalPong how long it may take to say so.
	terminalPing = 15 * time.Second
	terminalPong = 10 * time.Second
	// terminalBeat is how often a caller says so unasked.
	terminalBeat = 5 * time.Second
	// terminalOpening is how long the first message may take.
	terminalOpening = 10 * time.Second
)

func addTerminalRoutes(t *table, s TerminalService) {
	upgraded := map[string]*huma.Response{"101": {Description: "A WebSocket of binary messages, CBOR each: first the request, then frames"}}
	raw(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/run", name: "run", summary: "Run a command in a new container (WebSocket)",
		rule: onApp(cluster.ScopeDeploy)}, upgraded, func(c echo.Context) error {
		return serveSocket(c, func(ctx context.Context, app cluster.AppName, in RunRequest, t Terminal) (int, error) {
			in.App, in.Assignment = app, nil // the path was authorised; the assignment is the server's to make
			return s.Run(ctx, in, t)
		})
	})
	raw(t, spec{method: http.MethodGet, path: "/v1/apps/{app}/exec", name: "exec", summary: "Run a command inside a live replica (WebSocket)",
		rule: onApp(cluster.ScopeDeploy)}, upgraded, func(c echo.Context) error {
		return serveSocket(c, func(ctx context.Context, app cluster.AppName, in ExecRequest, t Terminal) (int, error) {
			in.App, in.Allocation = app, ""
			return s.Exec(ctx, in, t)
		})
	})
}

// serveSocket accepts a WebSocket, reads the request from it and attaches the
// command to the rest.
func serveSocket[T any](c echo.Context, run func(context.Context, cluster.AppName, T, Terminal) (int, error)) error {
	r := c.Request()
	if !c.IsWebSocket() {
		return refuse(http.StatusUpgradeRequired, cluster.Invalid("upgrade", "this route is a WebSocket").
			WithHint("use: paas run, or: paas exec"))
	}
	app := appOf(c)
	// The gate has already refused foreign origins.
	conn, err := websocket.Accept(c.Response(), r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return &toldError{cluster.Invalid("upgrade", "the WebSocket was not opened").Wrap(err)}
	}
	defer func() { _ = conn.CloseNow() }()
	c.Response().Committed = true // nothing but frames can be said from here on
	ctx := r.Context()
	socket := &socketWire{conn: conn}
	opening, cancel := context.WithTimeout(ctx, terminalOpening)
	defer cancel()
	conn.SetReadLimit(maxRequestFrame)
	var in T
	if err := socket.read(opening, &in); err != nil {
		_ = conn.Close(websocket.StatusPolicyViolation, "the first message must be the request")
		return nil
	}
	conn.SetReadLimit(maxFrame)
	say := func(err error) *cluster.Error { return publicError(err, RequestID(ctx)) }
	err = serveTerminal(ctx, socket, say, func(ctx context.Context, t Terminal) (int, error) { return run(ctx, app, in, t) })
	_ = conn.Close(websocket.StatusNormalClosure, "")
	if err != nil {
		return &toldError{err}
	}
	return nil
}

// socketWire carries frames over a WebSocket.
type socketWire struct{ conn *websocket.Conn }

func (s *socketWire) read(ctx context.Context, v any) error {
	kind, body, err := s.conn.Read(ctx)
	if err != nil {
		return err
	}
	if kind != websocket.MessageBinary {
		return errors.New("a text message where a frame belongs")
	}
	return unmarshal(body, v)
}

func (s *socketWire) write(ctx context.Context, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	return s.conn.Write(ctx, websocket.MessageBinary, body)
}

func (s *socketWire) ping(ctx context.Context) error { return s.conn.Ping(ctx) }

// Run implements TerminalService.
func (c *Client) Run(ctx context.Context, in RunRequest, t Terminal) (int, error) {
	return c.attach(ctx, appPath(in.App, "run"), in, t)
}

// Exec implements TerminalService.
func (c *Client) Exec(ctx context.Context, in ExecRequest, t Terminal) (int, error) {
	return c.attach(ctx, appPath(in.App, "exec"), in, t)
}

// attach is attachOnce, at another server if the first one knows no leader.
func (c *Client) attach(ctx context.Context, path string, in any, t Terminal) (int, error) {
	code, err := c.attachOnce(ctx, path, in, t)
	if err != nil && c.ledElsewhere(ctx, err) {
		return c.attachOnce(ctx, path, in, t)
	}
	return code, err
}

// attachOnce opens a WebSocket, sends the request and relays frames until the
// command ends.
func (c *Client) attachOnce(ctx context.Context, path string, in any, t Terminal) (int, error) {
	h := http.Header{}
	c.identify(h)
	dialing, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	options := &websocket.DialOptions{HTTPClient: c.upgrade, HTTPHeader: h}
	if c.config.TLS != nil {
		options.Host = pinnedHost
	}
	conn, res, err := websocket.Dial(dialing, c.base.String()+path, options)
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return 0, c.refused(res)
		}
		if context.Cause(dialing) == errNoAnswer {
			err = errNoAnswer
		}
		return 0, c.unreachable(ctx, err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxFrame)
	socket := &socketWire{conn: conn}
	if err := socket.write(ctx, in); err != nil {
		return 0, c.broken(ctx, err)
	}
	code, err := relayTerminal(ctx, socket, t)
	if errors.Is(err, errGone) {
		return 0, c.broken(ctx, err)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "") // the command's end is known: nothing depends on the farewell
	return code, err
}
