//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// clusterServerRemoved lets a fourth server join and removes it while it is off: when it
// starts again it hears so from the others, says what to do, once, and is quiet.
func clusterServerRemoved(f *fleet) {
	m := f.spare
	role := m.role
	m.role = "server"
	defer func() { m.role = role }()
	m.join()
	f.await(m.name+" votes", 60*time.Second, func() string {
		var status struct {
			Members []struct {
				Voter bool `json:"voter"`
			} `json:"members"`
		}
		f.into(&status, f.home, "cluster", "status")
		voters := 0
		for _, x := range status.Members {
			if x.Voter {
				voters++
			}
		}
		if voters != 4 {
			return fmt.Sprint(voters, " servers vote")
		}
		return ""
	})
	m.end(syscall.SIGKILL)
	f.must(f.home, "nodes", "remove", m.name, "--yes", "--force")
	before := len(m.said())
	m.start()
	f.await(m.name+" says that it was removed", time.Minute, func() string {
		return lacks(m.said()[before:], "this node was removed from the cluster: it idles. To let the host join again")
	})
	f.await(m.name+" answers nobody", 30*time.Second, func() string {
		conn, err := f.bed.dial(context.Background(), "0", m.addr+":7443")
		if err == nil {
			_ = conn.Close()
			return "it listens"
		}
		return ""
	})
	heard := len(m.said())
	<-time.After(5 * time.Second) // it has nothing to say any more
	if said := m.said()[heard:]; said != "" || !m.running() {
		f.t.Errorf("a removed server (running: %t) goes on saying:\n%s", m.running(), said)
	}
	f.t.Logf("%s:\n%s", m.name, m.said()[before:])
	m.end(syscall.SIGTERM)
	f.allUp(10 * time.Second)
}
