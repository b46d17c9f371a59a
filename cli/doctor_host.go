package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"paas/cluster"
)

// kernelFacts is what of a kernel containers need.
type kernelFacts struct {
	Overlay, CgroupMemory, CgroupPIDs, Nftables, Bridge, Seccomp bool
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
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	has := func(module string) bool {
		return exists("sys/module/"+module) || strings.Contains(modules, "/"+module+".ko")
	}
	controllers := strings.Fields(read("sys/fs/cgroup/cgroup.controllers"))
	f := kernelFacts{Overlay: strings.Contains(read("proc/filesystems"), "\toverlay\n") || has("overlay"),
		CgroupMemory: slices.Contains(controllers, "memory"), CgroupPIDs: slices.Contains(controllers, "pids"),
		// A kernel without modules has no list of them: its symbols tell.
		Nftables: has("nf_tables") || has("ip_tables") || strings.Contains(read("proc/kallsyms"), " nf_tables_"),
		Bridge:   has("br_netfilter") || exists("proc/sys/net/bridge/bridge-nf-call-iptables"),
		Seccomp:  exists("proc/sys/kernel/seccomp/actions_avail")}
	for line := range strings.Lines(read("proc/cgroups")) {
		part := strings.Fields(line)
		if len(part) != 4 || part[3] != "1" {
			continue
		}
		f.CgroupMemory = f.CgroupMemory || part[0] == "memory"
		f.CgroupPIDs = f.CgroupPIDs || part[0] == "pids"
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
	missing(f.CgroupPIDs, "process control groups", "without them one app can start so many processes that nobody else gets any", "take a kernel with CONFIG_CGROUP_PIDS; those of distributions have it")
	missing(f.Nftables, "packet filter (nf_tables or ip_tables)", "apps could reach the host's own services", "load it: sudo modprobe nf_tables")
	missing(f.Seccomp, "seccomp", "without it the engine lets apps make every system call", "take a kernel with CONFIG_SECCOMP_FILTER; those of distributions have it")
	if !f.Bridge && len(out) == 0 {
		return []finding{warning("kernel", "load it: sudo modprobe br_netfilter", "the kernel has no br_netfilter: traffic between apps on one bridge is not filtered")}
	}
	if out == nil {
		return []finding{fine("kernel", "the kernel has what containers need")}
	}
	return out
}
