package cli

import (
	"errors"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

// portTries is how many ports after a default one are tried.
const portTries = 50

// addressOwner is portOwner of an address, and "another program" if it may not be known.
func addressOwner(addr string) string {
	if ap, err := cluster.ParseAddress("address", addr); err == nil {
		if owner := portOwner("/", int(ap.Port())); owner != "" {
			return owner
		}
	}
	return "another program"
}

// choosePort returns an address that is free: an explicit one or none, a default
// one or the next after it.
func choosePort(c *cli.Context, flag, kept string) (addr string, moved bool, err error) {
	addr = c.String(flag)
	if _, err := cluster.ParseAddress(flag, addr); err != nil {
		return "", false, err
	}
	if c.IsSet(flag) {
		return addr, false, free(flag, addr)
	}
	if kept != "" && free(flag, kept) == nil {
		return kept, kept != addr && errors.Is(free(flag, addr), syscall.EADDRINUSE), nil // what git remotes and bookmarks know already
	}
	host, first, err := net.SplitHostPort(addr)
	if err != nil {
		return "", false, err
	}
	port, err := strconv.Atoi(first)
	if err != nil {
		return "", false, err
	}
	for n := range portTries {
		next := net.JoinHostPort(host, strconv.Itoa(port+n))
		if err = free(flag, next); err == nil {
			return next, n > 0, nil
		}
	}
	return "", false, err
}

// free reports why addr cannot be listened on.
func free(flag, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l.Close()
	}
	e := cluster.Conflict("port", "cannot listen on %s", addr).Because("%v", innermost(err)).WithHint("choose another address: --" + flag + " ADDRESS").Wrap(err)
	switch {
	case errors.Is(err, os.ErrPermission):
		return e.Because("ports below 1024 need root")
	case errors.Is(err, syscall.EADDRINUSE):
		return e.Because("%s listens there", addressOwner(addr))
	}
	return e
}
