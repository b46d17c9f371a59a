package router

import (
	"net"

	"golang.org/x/sys/unix"
)

// unsent is how much of its answers the kernel takes of one client's connection
// beyond what is under way to it. What a client does not read then stays with the
// app, and not in the 4 MiB to which Linux lets a send buffer grow: a thousand that
// read nothing cost the others a copy of gigabytes. What is under way is not bounded,
// so neither is the speed of long paths; a download over loopback is 3 % slower.
const unsent = 256 << 10

// unsentListener is a listener of TCP whose connections have that bound.
type unsentListener struct{ net.Listener }

// listen binds an address for clients.
func listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return unsentListener{l}, nil
}

func (l unsentListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if raw, err := c.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // a dead connection needs none, an old kernel has none
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
		})
	}
	return c, nil
}
