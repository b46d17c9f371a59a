package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"paas/api"
	"paas/cluster"
)

// kernelFacts is what of a kernel containers need.
type kernelFacts struct {
	Overlay, CgroupMemory, Nftables, Bridge bool
}

// readKernel looks for features where kernels show them: in root, which is "/"
// but for tests. A module that is not loaded yet counts if it can be.
func readKernel(root string) kernelFacts {
	read := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(root, name)) // absent says no
		return string(data)
	}
	release := strings.TrimSpace(read("proc/sys/kernel/osrelease"))
	modules := read("lib/modules/"+release+"/modules.dep") + read("lib/modules/"+release+"/modules.builtin")
	has := func(module string) bool {
		_, err := os.Stat(filepath.Join(root, "sys/module", module))
		return err == nil || strings.Contains(modules, "/"+module+".ko")
	}
	f := kernelFacts{Overlay: strings.Contains(read("proc/filesystems"), "\toverlay\n") || has("overlay"),
		CgroupMemory: slices.Contains(strings.Fields(read("sys/fs/cgroup/cgroup.controllers")), "memory"),
		// A kernel without modules has no list of them: its symbols tell.
		Nftables: has("nf_tables") || has("ip_tables") || strings.Contains(read("proc/kallsyms"), " nf_tables_"),
		Bridge:   has("br_netfilter")}
	for line := range strings.Lines(read("proc/cgroups")) {
		if part := strings.Fields(line); len(part) == 4 && part[0] == "memory" {
			f.CgroupMemory = f.CgroupMemory || part[3] == "1"
		}
	}
	if _, err := os.Stat(filepath.Join(root, "proc/sys/net/bridge/bridge-nf-call-iptables")); err == nil {
		f.Bridge = true
	}
	return f
}

// judgeKernel names what is missing, what for, and how to get it.
func judgeKernel(f kernelFacts) []finding {
	var out []finding
	missing := func(there bool, feature, why, do string) {
		if !there {
			out = append(out, broken("kernel", cluster.Errorf(cluster.KindUnavailable, "kernel", "the kernel has no %s", feature).Because("%s", why).WithHint(do)))
		}
	}
	missing(f.Overlay, "overlay file system", "images are stacked with it", "load it: sudo modprobe overlay")
	missing(f.CgroupMemory, "memory control groups", "without them no app has a memory limit", "add cgroup_enable=memory to the kernel's command line, and reboot")
	missing(f.Nftables, "packet filter (nf_tables or ip_tables)", "apps could reach the host's own services", "load it: sudo modprobe nf_tables")
	if !f.Bridge && len(out) == 0 {
		return []finding{warning("kernel", "load it: sudo modprobe br_netfilter", "the kernel has no br_netfilter: traffic between apps on one bridge is not filtered")}
	}
	if out == nil {
		return []finding{fine("kernel", "the kernel has what containers need")}
	}
	return out
}

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

// judgePort says who has a port that is taken.
func judgePort(flag, addr, owner string) finding {
	do := "paas up takes the next free one; or choose: paas up --" + flag + " ADDRESS"
	if owner == "" {
		return warning("ports", do+"\nwho has it: sudo paas doctor", "%s is in use", addr)
	}
	return warning("ports", do+"\nor stop "+owner, "%s is in use by %s", addr, owner)
}

const (
	lookupTimeout = 3 * time.Second
	lookedUp      = 20 // domains at most: each may take the timeout
)

// checkDomains looks whether the apps' own host names lead to a router.
func checkDomains(ctx context.Context, c *api.Client) []finding {
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return []finding{broken("domains", err)}
	}
	apps, err := c.Apps(ctx)
	if err != nil {
		return []finding{broken("domains", err)}
	}
	var routers []netip.Addr
	for _, n := range nodes {
		if at, err := netip.ParseAddrPort(n.Address); err == nil && n.Router {
			routers = append(routers, at.Addr().Unmap())
		}
	}
	var out []finding
	for _, a := range apps {
		list, err := c.Domains(ctx, a.Name)
		if err != nil {
			return append(out, broken("domains", err))
		}
		for _, d := range list {
			if d.Default || d.Host == "localhost" || strings.HasSuffix(string(d.Host), ".localhost") || len(out) == lookedUp {
				continue
			}
			found, err := lookUp(ctx, string(d.Host))
			out = append(out, judgeDomain(d.Host, found, err, routers))
		}
	}
	return out
}

// lookUp asks for A and AAAA records.
func lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host+".")
}

// judgeDomain compares where a host name leads with where the routers are. They
// may stand behind a balancer or an address translation, so another address is
// worth knowing and no more.
func judgeDomain(host cluster.Hostname, found []netip.Addr, err error, routers []netip.Addr) finding {
	public := slices.DeleteFunc(slices.Clone(routers), func(a netip.Addr) bool { return a.IsLoopback() || a.IsUnspecified() })
	at := "the address of this cluster's router"
	if len(public) > 0 {
		at = addresses(public)
	}
	if err != nil || len(found) == 0 {
		why := "it has no A or AAAA record"
		if err != nil {
			why = fmt.Sprint(innermost(err))
		}
		return broken("domains", cluster.Errorf(cluster.KindUnavailable, "dns", "%s leads nowhere", host).Because("%s", why).
			WithHint("add an A or AAAA record of "+string(host)+" for "+at))
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	for _, a := range found {
		if slices.Contains(routers, a) {
			return fine("domains", "%s leads to a router", host)
		}
	}
	return warning("domains", "if no balancer or address translation stands between, point it to "+at, "%s leads to %s, where no router of this cluster is known", host, addresses(found))
}

func addresses(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}
