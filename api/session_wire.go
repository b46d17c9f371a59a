package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"paas/cluster"
)

const (
	// maxMessage bounds one message of a session: the full set of a large node.
	maxMessage = 16 << 20
	// sessionOpening is how long Hello and Welcome may take.
	sessionOpening = 10 * time.Second
	// sessionPing: with the heartbeat interval before it, a dead other side is
	// noticed a second before NodeLease is over, in which another server is found.
	sessionPing = NodeLease - 2*HeartbeatInterval
	// sessionCloseWait is how long a stream may stay half closed.
	sessionCloseWait = 30 * time.Second
	// maxCalls bounds the calls that one side serves at once.
	maxCalls = 1024
)

// message is one message of a session's first stream; exactly one field is set,
// but for a heartbeat's Space.
type message struct {
	Hello       *Hello                `cbor:"1,keyasint,omitempty"`
	Welcome     *Welcome              `cbor:"2,keyasint,omitempty"`
	Refused     *cluster.Error        `cbor:"3,keyasint,omitempty"`
	Heartbeat   bool                  `cbor:"4,keyasint,omitempty"`
	Observed    []Observed            `cbor:"5,keyasint,omitempty"`
	Router      *cluster.RouterStatus `cbor:"6,keyasint,omitempty"`
	Assignments *AssignmentSet        `cbor:"7,keyasint,omitempty"`
	Routes      *cluster.RouteTable   `cbor:"8,keyasint,omitempty"`
	Space       []cluster.Space       `cbor:"9,keyasint,omitempty"` // of a heartbeat
	Roster      *cluster.Roster       `cbor:"10,keyasint,omitempty"`
	Gone        []cluster.VolumeID    `cbor:"11,keyasint,omitempty"`
}

// yamuxConfig tunes the multiplexer. The agent's pings find a dead server; a dead
// agent is found by the silence of its heartbeats.
func yamuxConfig(log *slog.Logger) *yamux.Config {
	c := yamux.DefaultConfig()
	c.KeepAliveInterval = HeartbeatInterval
	c.ConnectionWriteTimeout = sessionPing
	c.StreamOpenTimeout = 0 // pings already find dead peers
	c.StreamCloseTimeout = sessionCloseWait
	c.LogOutput = nil
	c.Logger = yamuxLog{log}
	return c
}

// yamuxLog sends yamux's own log lines to the debug level: what they report
// comes back as an error as well.
type yamuxLog struct{ log *slog.Logger }

func (l yamuxLog) Print(v ...any)                 { l.log.Debug("session transport", "err", fmt.Sprint(v...)) }
func (l yamuxLog) Println(v ...any)               { l.Print(v...) }
func (l yamuxLog) Printf(format string, v ...any) { l.Print(fmt.Sprintf(format, v...)) }

// streamWire carries length-prefixed CBOR messages over one stream of a session.
type streamWire struct {
	conn net.Conn
	// lease ends a read that gets nothing for so long; 0 means never.
	lease time.Duration
	mu    sync.Mutex // one write at a time
}

// Read gives every read of the stream the whole lease: bytes are signs of life.
func (s *streamWire) Read(p []byte) (int, error) {
	if s.lease > 0 {
		if err := s.conn.SetReadDeadline(time.Now().Add(s.lease)); err != nil {
			return 0, err
		}
	}
	return s.conn.Read(p)
}

// read reads the next message into v. When ctx ends, so does the stream.
func (s *streamWire) read(ctx context.Context, v any) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := readMessage(s, v); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// write writes v as one message. When ctx ends, so does the stream.
func (s *streamWire) write(ctx context.Context, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return fmt.Errorf("message of %d bytes is too large", len(body))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := s.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// readMessage reads one message. It takes memory as bytes arrive, not as the
// other side claims.
func readMessage(r io.Reader, v any) error {
	var prefix [4]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(prefix[:])
	if size > maxMessage {
		return fmt.Errorf("message of %d bytes is too large", size)
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(size)); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	return unmarshal(body.Bytes(), v)
}
