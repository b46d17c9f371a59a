package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// portOwner names the process that listens on a port, as far as it may be known:
// "nginx (pid 812)", or "".
func portOwner(root string, port int) string {
	inodes := map[string]bool{}
	for _, table := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		f, err := os.Open(filepath.Join(root, table))
		if err != nil {
			continue
		}
		listeners(f, port, inodes)
		_ = f.Close()
	}
	fds, err := filepath.Glob(filepath.Join(root, "proc/[0-9]*/fd/*"))
	if err != nil || len(inodes) == 0 {
		return ""
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		inode, ok := strings.CutPrefix(to, "socket:[")
		if err != nil || !ok || !inodes[strings.TrimSuffix(inode, "]")] {
			continue
		}
		dir := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(dir, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", oneLine(strings.TrimSpace(string(name))), filepath.Base(dir))
	}
	return ""
}

// listeners collects the inodes of the sockets that listen on port, from a table
// of proc_net_tcp(5): state 0A is LISTEN.
func listeners(table io.Reader, port int, inodes map[string]bool) {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		part := strings.Fields(lines.Text())
		if len(part) < 10 || part[3] != "0A" {
			continue
		}
		_, hex, _ := strings.Cut(part[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
			inodes[part[9]] = true
		}
	}
}

// portFacts is a port that is taken.
type portFacts struct {
	Flag, Addr string
	Owner      string // "" if it may not be known
	Fixed      bool   // paas does not choose another one by itself
}

// checkPorts says whether paas would get its ports: those that the state in dir
// had before, else the default ones of "up".
func checkPorts(dir string) []finding {
	r, err := readRecord(dir)
	if err != nil {
		r = &upRecord{Context: devContext}
	}
	if r.alive() {
		return []finding{fine("ports", "process %d of paas has its ports", r.PID)}
	}
	var out []finding
	var ports []string
	for _, p := range [][3]string{{"http", r.HTTP, "127.0.0.1:8080"}, {"https", r.HTTPS, "127.0.0.1:8443"}, {"listen", r.Listen, "127.0.0.1:7443"}} {
		addr := cmp.Or(p[1], p[2])
		_, port, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port) // 0 is nobody's
		if err := free(p[0], addr); errors.Is(err, syscall.EADDRINUSE) {
			out = append(out, judgePort(portFacts{p[0], addr, portOwner("/", n), r.Context == ""}))
		} else if err != nil && !errors.Is(err, os.ErrPermission) { // who may not listen there need not be who will
			out = append(out, broken("ports", err))
		}
		ports = append(ports, port)
	}
	if out == nil {
		out = append(out, fine("ports", "the ports of paas are free: %s", strings.Join(ports, ", ")))
	}
	return out
}

// judgePort says who has a port, and what to do about it.
func judgePort(f portFacts) finding {
	do := "paas up takes the next free one; or choose: paas up --" + f.Flag + " ADDRESS"
	if f.Fixed {
		do = "choose another one: paas server --" + f.Flag + " ADDRESS"
	}
	if f.Owner == "" {
		return warning("ports", do+"\nwho has it: sudo paas doctor", "%s is in use", f.Addr)
	}
	return warning("ports", do+"\nor stop "+f.Owner, "%s is in use by %s", f.Addr, f.Owner)
}
