package api

import (
	"context"
	"time"
)

// What travels for the calls of ServerCalls.
type (
	fileKey struct {
		Key string `cbor:"1,keyasint"`
	}
	fileValue struct {
		Key      string    `cbor:"1,keyasint"`
		Value    []byte    `cbor:"2,keyasint"`
		Modified time.Time `cbor:"3,keyasint"`
	}
	lockRequest struct {
		Name   string        `cbor:"1,keyasint"`
		Holder string        `cbor:"2,keyasint"`
		TTL    time.Duration `cbor:"3,keyasint"`
	}
	nothing struct{}
)

// serverMethods is what agents may ask of a server.
func serverMethods(s ServerCalls) map[string]method {
	return map[string]method{
		"file.load": unary(func(ctx context.Context, in fileKey) (fileValue, error) {
			value, modified, err := s.LoadFile(ctx, in.Key)
			return fileValue{Key: in.Key, Value: value, Modified: modified}, err
		}),
		"file.store": unary(func(ctx context.Context, in fileValue) (nothing, error) {
			return nothing{}, s.StoreFile(ctx, in.Key, in.Value)
		}),
		"file.delete": unary(func(ctx context.Context, in fileKey) (nothing, error) {
			return nothing{}, s.DeleteFile(ctx, in.Key)
		}),
		"file.list": unary(func(ctx context.Context, in fileKey) ([]string, error) {
			return s.ListFiles(ctx, in.Key)
		}),
		"lock": unary(func(ctx context.Context, in lockRequest) (nothing, error) {
			return nothing{}, s.Lock(ctx, in.Name, in.Holder, in.TTL)
		}),
		"edge.sign": unary(func(ctx context.Context, csr []byte) ([]byte, error) {
			return s.SignEdge(ctx, csr)
		}),
	}
}

// LoadFile implements ServerCalls.
func (s *AgentSession) LoadFile(ctx context.Context, key string) ([]byte, time.Time, error) {
	v, err := callPeer[fileValue](ctx, s.server, "file.load", fileKey{Key: key})
	return v.Value, v.Modified, err
}

// StoreFile implements ServerCalls.
func (s *AgentSession) StoreFile(ctx context.Context, key string, value []byte) error {
	_, err := callPeer[nothing](ctx, s.server, "file.store", fileValue{Key: key, Value: value})
	return err
}

// DeleteFile implements ServerCalls.
func (s *AgentSession) DeleteFile(ctx context.Context, key string) error {
	_, err := callPeer[nothing](ctx, s.server, "file.delete", fileKey{Key: key})
	return err
}

// ListFiles implements ServerCalls.
func (s *AgentSession) ListFiles(ctx context.Context, prefix string) ([]string, error) {
	return callPeer[[]string](ctx, s.server, "file.list", fileKey{Key: prefix})
}

// Lock implements ServerCalls.
func (s *AgentSession) Lock(ctx context.Context, name, holder string, ttl time.Duration) error {
	_, err := callPeer[nothing](ctx, s.server, "lock", lockRequest{Name: name, Holder: holder, TTL: ttl})
	return err
}

// SignEdge implements ServerCalls.
func (s *AgentSession) SignEdge(ctx context.Context, csr []byte) ([]byte, error) {
	return callPeer[[]byte](ctx, s.server, "edge.sign", csr)
}

// RenewCertificate asks for the node's next certificate: csr is a request (DER) for
// its new key. The answer is a PEM chain for the node that the session is of, in the
// role that it has, whatever the request says.
func (s *AgentSession) RenewCertificate(ctx context.Context, csr []byte) (chainPEM []byte, err error) {
	return callPeer[[]byte](ctx, s.server, "cert.renew", csr)
}

var _ ServerCalls = (*AgentSession)(nil)

type callerKey struct{}

// withCaller returns ctx for calls of a node.
func withCaller(ctx context.Context, node Peer) context.Context {
	return context.WithValue(ctx, callerKey{}, node)
}

// callerFrom is the node that makes a call, as its certificate says.
func callerFrom(ctx context.Context) Peer {
	p, _ := ctx.Value(callerKey{}).(Peer)
	return p
}

// remoteNode is a connected node, for the server's calls.
type remoteNode struct{ *peer }

var _ NodeCalls = remoteNode{}

// Logs implements NodeCalls.
func (n remoteNode) Logs(ctx context.Context, in LogsRequest, send func(LogLine) error) error {
	return callPeerEach(ctx, n.peer, "logs", in, func(body []byte) error {
		var l LogLine
		if err := unmarshal(body, &l); err != nil {
			return err
		}
		return send(l)
	})
}

// Exec implements NodeCalls.
func (n remoteNode) Exec(ctx context.Context, in ExecRequest, t Terminal) (int, error) {
	return callPeerTerminal(ctx, n.peer, "exec", in, t)
}

// Run implements NodeCalls.
func (n remoteNode) Run(ctx context.Context, in RunRequest, t Terminal) (int, error) {
	return callPeerTerminal(ctx, n.peer, "run", in, t)
}
