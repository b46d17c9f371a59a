//go:build e2e && faults

package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFaultClusterAloneByMistake recovers a server whose cluster still has a majority:
// it tells the two others that they were removed whenever they ask it, as they do when
// both have just started. What they run stays as it is.
func TestFaultClusterAloneByMistake(t *testing.T) {
	f, _, dir := newDrill(t, plan{})
	f.must(dir, "scale", "web=6")
	f.settled("shop", 6, time.Minute)
	alone, others := f.members[2], f.members[:2]
	alone.end(syscall.SIGTERM)
	full := f.bed.command("exec", alone.index, f.bin, "cluster", "recover", "--data", alone.data(), "--yes")
	if _, errs, code := f.run(f.home, "", full[0], full[1:]...); code != 5 || !strings.Contains(errs, "h1, h2 of 3 servers answer") {
		t.Errorf("cluster recover beside a majority: exit %d\n%s", code, errs)
	}
	full = append(full, "--force")
	if out, errs, code := f.run(f.home, "", full[0], full[1:]...); code != 0 {
		t.Fatalf("cluster recover: exit %d\n%s%s", code, out, errs)
	}
	alone.start()
	f.await("it removes the others", 30*time.Second, func() string {
		return lacks(alone.said(), "server was removed: this one was recovered without it")
	})
	<-time.After(10 * time.Second) // what the others replace for want of the third is in its place
	same := containersOn(t, others, "shop")
	for round := range drillRounds(3) {
		for _, m := range others {
			m.end(syscall.SIGKILL)
		}
		for _, m := range others {
			m.start()
			<-time.After(time.Second) // a majority comes late
		}
		f.await("they go on", 30*time.Second, func() string {
			for _, m := range others {
				if s := lacks(m.said(), "server is ready"); s != "" {
					return s
				}
			}
			return ""
		})
		<-time.After(5 * time.Second)
		// Agents may go over to the third, and what they ran then comes here as well.
		now := containersOn(t, others, "shop")
		if slices.ContainsFunc(same, func(c string) bool { return !slices.Contains(now, c) }) {
			t.Fatalf("round %d: what they ran ended:\n%s\n→\n%s", round, strings.Join(same, "\n"), strings.Join(now, "\n"))
		}
		same = now
	}
	told := strings.Count(alone.said(), "protocol=paas-session/1")
	t.Logf("%d replicas ran on; their hosts heard %d times that they were removed", len(same), told)
}

// containersOn are an app's containers on some hosts, with their start times.
func containersOn(t *testing.T, on []*member, app string) (all []string) {
	t.Helper()
	for _, m := range on {
		list, err := m.containersOf(app)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, list...)
	}
	return all
}
