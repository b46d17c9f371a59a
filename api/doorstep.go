package api

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// doorstep holds the connections that came in and have not shown who they are. Anybody
// can open those and say nothing, so there are at most `handshakes` of them, and none
// ever keeps others waiting: one more takes the place of the oldest one of the address
// that has the most. Who fills the doorstep crowds out itself. The zero doorstep is
// empty; it is safe for concurrent use.
type doorstep struct {
	mu      sync.Mutex
	waiting []caller // oldest first; guarded by mu
}

// caller is a connection and where it came from.
type caller struct {
	conn net.Conn
	from netip.Addr
}

// enter lets conn onto the doorstep. Whoever has to make room for it is closed, which
// ends its handshake.
func (d *doorstep) enter(conn net.Conn) {
	next := caller{conn: conn}
	if ap, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
		next.from = ap.Addr().Unmap()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, next)
	if len(d.waiting) <= handshakes {
		return
	}
	i := crowding(d.waiting)
	_ = d.waiting[i].conn.Close() // it was owed nothing
	d.waiting = slices.Delete(d.waiting, i, i+1)
}

// leave takes conn off the doorstep: it came in, or went away.
func (d *doorstep) leave(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = slices.DeleteFunc(d.waiting, func(c caller) bool { return c.conn == conn })
}

// crowding is the index of the oldest caller of the address that has most of them; of
// several such addresses the one that came first.
func crowding(waiting []caller) int {
	count := map[netip.Addr]int{}
	for _, c := range waiting {
		count[c.from]++
	}
	most := 0
	for i, c := range waiting {
		if count[c.from] > count[waiting[most].from] {
			most = i
		}
	}
	return most
}
