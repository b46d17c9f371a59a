//go:build e2e && faults

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFaultClusterRestored loses all servers with their disks. One is made anew from a
// backup, on another host than the agents' join strings name: they find it, others join
// it, and a power cut of everything right after it is no end.
func TestFaultClusterRestored(t *testing.T) {
	f, _, _ := newDrill(t, plan{})
	pass, file := filepath.Join(f.home, "pass"), filepath.Join(f.home, "state.backup")
	if err := os.WriteFile(pass, []byte("a long passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.must(f.home, "backup", "create", file, "--passphrase-file", pass)
	for _, m := range f.servers() {
		m.end(syscall.SIGKILL)
		f.bed.must(t, "exec", m.index, "rm", "-rf", m.data())
	}
	first := f.members[2]
	f.bed.must(t, "exec", first.index, f.bin, "backup", "restore", file, "--passphrase-file", pass, "--data", first.data())
	at := time.Now()
	first.start()
	f.await("the agents have found it", time.Minute, func() string { return f.upBeside(first, 4) })
	t.Logf("restored: all agents are up after %v", time.Since(at).Round(time.Millisecond))
	for _, m := range f.members[:2] {
		m.start("--join", f.joinString(first, "--role", "server"))
	}
	f.allUp(time.Minute)
	for _, m := range f.members {
		m.powerOff()
	}
	majority, _ := f.bootAll([]int{5, 1, 3, 0, 4, 2})
	f.await("the cluster takes writes", time.Minute, func() string {
		if _, errs, code := f.paas(f.home, "config", "set", "AGAIN=1", "-a", "shop", "--detach"); code != 0 {
			return errs
		}
		return ""
	})
	within(t, "power cut after the restore, writable", time.Since(majority), 10*time.Second)
	f.allUp(30 * time.Second)
}

// upBeside says what lacks until n nodes are up, as m sees them.
func (f *fleet) upBeside(m *member, n int) string {
	var list []struct {
		State     string    `json:"state"`
		LastHeard time.Time `json:"last_heard"` // by the server that leads; the rest is from the backup
	}
	out, errs, code := f.via(m).paas(f.home, "nodes", "list", "--json")
	if code != 0 {
		return errs
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err.Error()
	}
	up := 0
	for _, x := range list {
		if x.State == "up" && !x.LastHeard.IsZero() {
			up++
		}
	}
	if up != n {
		return out
	}
	return ""
}
