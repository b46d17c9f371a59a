package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// spy writes what this process may do, as the kernel sees it, and what became of
// a few things that it must not be able to do.
func spy(w io.Writer) {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		for _, key := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp:"} {
			if strings.HasPrefix(line, key) {
				fmt.Fprintln(w, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	for name, paths := range map[string][]string{
		"memory": {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"},
		"pids":   {"/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"},
		"weight": {"/sys/fs/cgroup/cpu.weight", "/sys/fs/cgroup/cpu/cpu.shares"},
	} {
		for _, p := range paths {
			if b, err := os.ReadFile(p); err == nil {
				fmt.Fprintf(w, "limit %s %s\n", name, strings.TrimSpace(string(b)))
				break
			}
		}
	}
	said := func(what string, err error) {
		if err != nil {
			fmt.Fprintf(w, "%s: no\n", what)
		} else {
			fmt.Fprintf(w, "%s: YES\n", what)
		}
	}
	said("write /proc/sys", os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/probe"), 0o644))
	said("write /proc/sysrq-trigger", os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0o644))
	said("write /sys", os.WriteFile("/sys/kernel/uevent_helper", []byte("/probe"), 0o644))
	_, err := os.ReadFile("/proc/kcore")
	if kcore, openErr := os.Open("/proc/kcore"); openErr == nil {
		_, err = kcore.Read(make([]byte, 64))
		_ = kcore.Close()
	}
	said("read /proc/kcore", err)
	said("mount", syscall.Mount("none", "/proc", "tmpfs", 0, ""))
	said("unshare", syscall.Unshare(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS))
	said("device node", syscall.Mknod("/disk", syscall.S_IFBLK|0o600, 8<<8))
	said("chroot", syscall.Chroot("/"))
	_, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_ICMP)
	said("raw socket", err)
	_, err = syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	said("packet socket", err)
	for _, s := range []string{"/var/run/docker.sock", "/run/docker.sock", "/hook.sock"} {
		_, err = os.Stat(s)
		said("see "+s, err)
	}
	interfaces, _ := net.Interfaces()
	fmt.Fprintln(w, "interfaces", len(interfaces))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 5 {
			fmt.Fprintln(w, "mount", f[4], f[3], f[5])
		}
	}
	fmt.Fprintln(w, "pid", os.Getpid())
}

// dial says of each address whether somebody answers there. A leading "/" is a
// unix socket.
func dial(w io.Writer, addresses []string) {
	said := make([]chan string, len(addresses))
	for i, a := range addresses {
		said[i] = make(chan string, 1)
		go func() { said[i] <- dialOne(a) }()
	}
	for i, a := range addresses {
		fmt.Fprintf(w, "%s %s\n", a, <-said[i])
	}
}

func dialOne(address string) string {
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	c, err := net.DialTimeout(network, address, 3*time.Second)
	if err != nil {
		return "closed"
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
	line, _ := bufio.NewReader(c).ReadString('\n')
	return fmt.Sprintf("OPEN %q", line)
}
