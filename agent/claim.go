package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"paas/cluster"
)

// ClaimedError says that another process works for the cluster on this host.
type ClaimedError struct {
	Cluster cluster.ClusterID
	PID     int    // 0: unknown
	UID     int    // of the process; 0 if unknown
	Data    string // directory of its state, as it said; "": unknown
}

func (e *ClaimedError) Error() string {
	return fmt.Sprintf("claim cluster %s: process %d with the state in %q has it", e.Cluster, e.PID, e.Data)
}

// claimWait bounds how long the holder of a claim may take to say who it is.
const claimWait = time.Second

// Claim is the sole right of one process to a cluster's containers, networks and
// images on this host. A state that was copied has the same cluster ID, and the
// containers of one are strangers to the other. It is a socket in Linux's abstract
// namespace: it ends with the process, however that ends, and hosts in network
// namespaces of their own have claims of their own.
type Claim struct {
	cluster cluster.ClusterID
	data    string
	socket  *net.UnixListener // nil if a stranger sits on the name
}

// NewClaim takes the claim to a cluster for the state in the directory data, which
// is told to whoever comes later. A *ClaimedError names the process that has it.
// The caller releases it. Anybody on the host can take the name: somebody who is
// neither root nor this user has no claim by that, and keeps nobody from working.
func NewClaim(id cluster.ClusterID, data string) (*Claim, error) {
	if id == "" {
		return nil, errors.New("claim: no cluster given") // an empty label would match everybody's
	}
	name := claimName(id)
	for range 3 {
		l, err := net.ListenUnix("unix", name)
		if err == nil {
			return &Claim{cluster: id, data: data, socket: l}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("claim cluster %s on this host: %w", id, err)
		}
		if holder, err := askHolder(name); err == nil {
			if holder.UID != 0 && holder.UID != os.Geteuid() {
				return &Claim{cluster: id, data: data}, nil
			}
			holder.Cluster = id
			return nil, holder
		} // it has just gone
	}
	return nil, &ClaimedError{Cluster: id}
}

// Release gives the claim back. Only the first call counts.
func (c *Claim) Release() {
	if c.socket != nil {
		_ = c.socket.Close() // again: it is closed already
	}
}

// answer tells whoever asks whose claim it is, until ctx ends.
func (c *Claim) answer(ctx context.Context) error {
	if c.socket == nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = c.socket.SetDeadline(time.Now()) }) // fails only once it is closed
	defer stop()
	for {
		conn, err := c.socket.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close() // nobody is told any more
			}
			return nil
		case err != nil: // out of file descriptors, most likely: the claim holds without an answer
			pause(ctx, claimWait)
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(claimWait))
		_, _ = io.WriteString(conn, c.data) // to somebody who may be gone
		_ = conn.Close()
	}
}

// Claims lists who works for clusters on this host, for somebody who does not know a
// cluster's ID yet. Whoever is neither root nor this user has no claim.
func Claims() []*ClaimedError {
	sockets, err := os.ReadFile("/proc/self/net/unix") // those of this network namespace
	if err != nil {
		return nil // a second process is told when it starts
	}
	seen := map[cluster.ClusterID]bool{}
	var all []*ClaimedError
	for line := range strings.Lines(string(sockets)) {
		_, name, _ := strings.Cut(line, claimPrefix)
		id := cluster.ClusterID(strings.TrimSpace(name))
		if id == "" || seen[id] { // a socket's connections have its name as well
			continue
		}
		seen[id] = true
		if holder, err := askHolder(claimName(id)); err == nil && (holder.UID == 0 || holder.UID == os.Geteuid()) {
			holder.Cluster = id
			all = append(all, holder)
		}
	}
	return all
}

// claimPrefix begins the name of a claim's socket.
const claimPrefix = "@paas/cluster/"

func claimName(id cluster.ClusterID) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: claimPrefix + string(id)}
}

// askHolder asks who has the claim of that name. An error means that nobody has.
func askHolder(name *net.UnixAddr) (*ClaimedError, error) {
	conn, err := net.DialUnix("unix", nil, name)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	h := &ClaimedError{}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // without it the number stays unknown
			if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				h.PID, h.UID = int(peer.Pid), int(peer.Uid)
			}
		})
	}
	_ = conn.SetDeadline(time.Now().Add(claimWait))
	if said, err := io.ReadAll(io.LimitReader(conn, unix.PathMax)); err == nil {
		h.Data = string(said)
	}
	return h, nil
}
