//go:build e2e && faults

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestFaultClusterDiskFull fills the disk of the leader, of a follower and of an
// agent, and frees it again.
func TestFaultClusterDiskFull(t *testing.T) {
	f, entry, dir := newDrill(t, plan{disk: "300M"})
	for _, c := range []struct {
		name string
		pick func() *member
	}{
		{"leader", f.leader},
		{"follower", func() *member { return f.followers()[0] }},
		{"agent", func() *member { return f.busiest("shop", f.members[3:5]) }},
	} {
		if !t.Run(c.name, func(t *testing.T) { f.t, entry.t = t, t; f.fullDisk(c.pick(), entry, dir, c.name) }) {
			break
		}
	}
	f.t = t
}

// fullDisk fills a member's disk to the last block while writes and requests go on.
func (f *fleet) fullDisk(m *member, entry *host, dir, role string) {
	t := f.t
	l := f.newLedger("ledger-" + role)
	traffic := entry.load("https://shop.localhost/", "version=", 200)
	f.await("the load is on", 20*time.Second, func() string { return traffic.atLeast(0, 400) })
	pid := m.pid
	at := time.Now()
	f.bed.must(t, "exec", m.index, "sh", "-c", `dd if=/dev/zero of="$HOST_DATA/filler" bs=64k 2>/dev/null; dd if=/dev/zero of="$HOST_DATA/filler2" bs=512 2>/dev/null; true`)
	others := slices.DeleteFunc(f.servers(), func(x *member) bool { return x == m })
	_, all := l.writesBack(at.Add(2*time.Second), others, time.Minute)
	within(t, "disk of the "+role+" full, writes through the others", all+2*time.Second, 10*time.Second)
	f.await("the message names the disk", time.Minute, func() string {
		status := f.via(others[0]).must(f.home, "status", "--cluster")
		if !regexp.MustCompile(`Disk\s+` + m.name + ` ` + m.home).MatchString(status) {
			return fmt.Sprintf("its log:\n%s\nand the status:\n%s", tail(m.said(), 5), status)
		}
		return ""
	})
	f.serving("shop", 3, nil, 30*time.Second)
	f.via(others[0]).must(dir, "config", "set", "GREETING=full-"+role, "-a", "shop")
	if m.pid != pid || !m.running() {
		t.Errorf("the process on the full disk ended:\n%s", tail(m.said(), 20))
	}
	f.bed.must(t, "exec", m.index, "sh", "-c", `rm -f "$HOST_DATA/filler" "$HOST_DATA/filler2"`)
	freed := time.Now()
	_, all = l.writesBack(freed, f.servers(), time.Minute)
	t.Logf("freed: writes through every server after %v", all.Round(time.Millisecond))
	f.allUp(30 * time.Second)
	f.settled("shop", 3, time.Minute)
	traffic.stop(t)
	t.Logf("%d writes acknowledged, none may be lost", l.check())
	f.exports(20 * time.Second)
}
