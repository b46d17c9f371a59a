package agent

import (
	"slices"
	"testing"

	"paas/cluster"
)

func TestOnlyPortsThatOthersReachAreOffered(t *testing.T) {
	got := offeredPorts("", "127.0.0.1:8443", "[::1]:8080", "0.0.0.0:443", "[::]:80", ":443", "10.0.0.1:7443", "nonsense", "10.0.0.1:99999")
	if want := []uint16{80, 443, 7443}; !slices.Equal(got, want) {
		t.Fatalf("offered %v, want %v", got, want)
	}
}

func TestFirewallMarkFollowsItsRules(t *testing.T) {
	one := firewall{cluster: "0123456789abcdef", ports: []uint16{80}}
	two := firewall{cluster: cluster.ClusterID("0123456789abcdef"), ports: []uint16{80, 443}}
	if slices.Equal(one.chains("docker0")[0].mark(), two.chains("docker0")[0].mark()) {
		t.Fatal("another set of ports has the same mark: the kernel's rules would not be renewed")
	}
	if !slices.Equal(one.chains("docker0")[0].mark(), one.chains("docker0")[0].mark()) {
		t.Fatal("the same rules have two marks: they would be written again and again")
	}
}
