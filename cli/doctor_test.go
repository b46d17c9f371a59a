package cli

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDoctorNamesWhatTheKernelLacks(t *testing.T) {
	all := kernelFacts{Overlay: true, CgroupMemory: true, CgroupPIDs: true, Nftables: true, Bridge: true, Seccomp: true}
	for says, lacks := range map[string]func(*kernelFacts){
		"has what containers need": func(*kernelFacts) {},
		"modprobe overlay":         func(f *kernelFacts) { f.Overlay = false },
		"cgroup_enable=memory":     func(f *kernelFacts) { f.CgroupMemory = false },
		"CONFIG_CGROUP_PIDS":       func(f *kernelFacts) { f.CgroupPIDs = false },
		"modprobe nf_tables":       func(f *kernelFacts) { f.Nftables = false },
		"modprobe br_netfilter":    func(f *kernelFacts) { f.Bridge = false },
		"CONFIG_SECCOMP_FILTER":    func(f *kernelFacts) { f.Seccomp = false },
	} {
		f := all
		lacks(&f)
		got := judgeKernel(f)
		if len(got) != 1 || !strings.Contains(got[0].Text+got[0].Do, says) || (f == all) != (got[0].State == "ok") {
			t.Errorf("%+v: %+v, want %q", f, got, says)
		}
	}
	root := t.TempDir()
	if got := readKernel(root); got != (kernelFacts{}) {
		t.Errorf("an empty root has %+v", got)
	}
	put(t, root, "proc/filesystems", "nodev\tsysfs\nnodev\toverlay\n")
	put(t, root, "proc/cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t70\t1\npids\t0\t70\t1\n")
	put(t, root, "proc/sys/kernel/seccomp/actions_avail", "kill_process allow\n")
	put(t, root, "proc/sys/kernel/osrelease", "6.1.0\n")
	put(t, root, "lib/modules/6.1.0/modules.dep", "kernel/net/netfilter/nf_tables.ko.xz: x\nkernel/net/bridge/br_netfilter.ko: x\n")
	if got := readKernel(root); got != all {
		t.Errorf("got %+v", got)
	}
	builtIn := t.TempDir()
	put(t, builtIn, "proc/kallsyms", "ffffffff81242638 t nft_obj_init.cold\nffffffff8124266c t nf_tables_newtable\n")
	if got := readKernel(builtIn); got != (kernelFacts{Nftables: true}) {
		t.Errorf("a kernel without modules has %+v", got)
	}
}

func put(t *testing.T, root, name, text string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDoctorNamesWhoHasAPort(t *testing.T) {
	root := t.TempDir()
	put(t, root, "proc/net/tcp", "  sl  local_address rem_address   st\n"+
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n"+
		"   1: 0100007F:20FB 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n")
	put(t, root, "proc/812/comm", "nginx\n")
	if err := os.Mkdir(filepath.Join(root, "proc/812/fd"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("socket:[4711]", filepath.Join(root, "proc/812/fd/3")); err != nil {
		t.Fatal(err)
	}
	if got := portOwner(root, 8080); got != "nginx (pid 812)" {
		t.Errorf("8080: %q", got)
	}
	if got := portOwner(root, 8443); got != "" { // a connection is no listener
		t.Errorf("8443: %q", got)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := portOwner("/", l.Addr().(*net.TCPAddr).Port); !strings.Contains(got, "(pid ") {
		t.Errorf("our own port: %q", got)
	}
	if f := judgePort(portFacts{Flag: "http", Addr: "127.0.0.1:8080", Owner: "nginx (pid 812)"}); f.State != "warning" || !strings.Contains(f.Text+f.Do, "by nginx (pid 812)") {
		t.Errorf("%+v", f)
	}
}

func TestDoctorComparesNamesWithRouters(t *testing.T) {
	router, other := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.7")
	for _, c := range []struct {
		found []netip.Addr
		err   error
		state string
		says  string
	}{
		{[]netip.Addr{router}, nil, "ok", "leads to a router"},
		{[]netip.Addr{other, router}, nil, "warning", "remove the records of shop.example.com for 198.51.100.7"},
		{[]netip.Addr{netip.MustParseAddr("::ffff:192.0.2.10")}, nil, "ok", "leads to a router"},
		{[]netip.Addr{other}, nil, "warning", "point it to 192.0.2.10"},
		{nil, &net.DNSError{Err: "no such host", Name: "a"}, "broken", "for 192.0.2.10"},
		{nil, errors.New("timeout"), "broken", "timeout"},
	} {
		f := judgeDomain("shop.example.com", "shop.example.com", c.found, c.err, []netip.Addr{router})
		if f.State != c.state || !strings.Contains(f.Text+" "+f.Do, c.says) {
			t.Errorf("%v %v: %+v, want %s, %q", c.found, c.err, f, c.state, c.says)
		}
	}
	if f := judgeDomain("blog.apps.example.com", "*.apps.example.com", nil, nil, []netip.Addr{router}); !strings.Contains(f.Do, "record of *.apps.example.com for 192.0.2.10") {
		t.Errorf("%+v", f)
	}
}
