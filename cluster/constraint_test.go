package cluster

import (
	"strings"
	"testing"
)

func TestConstraintsAreReadAndSaidTheSame(t *testing.T) {
	for text, want := range map[string]Constraint{
		"disk=ssd": {Key: "disk", Value: "ssd"}, "zone!=c": {Key: "zone", Not: true, Value: "c"}, " disk = ssd ": {Key: "disk", Value: "ssd"},
		"zone != c": {Key: "zone", Not: true, Value: "c"}, "name=Host 1": {Key: "name", Value: "Host 1"},
	} {
		got, err := ParseConstraint(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
		if again, err := ParseConstraint(got.String()); err != nil || again != got {
			t.Errorf("%q is said %q and read back %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "disk", "=", "!=", "disk=", "=ssd", "Disk=ssd", "disk=SSD", "disk==ssd", "a b=c", "disk=a\x00", "name=", "disk=" + strings.Repeat("a", 64)} {
		if c, err := ParseConstraint(text); KindOf(err) != KindInvalid {
			t.Errorf("%q: got %+v, %v, want it refused", text, c, err)
		}
	}
}

func FuzzParseConstraint(f *testing.F) {
	f.Add("disk=ssd")
	f.Add("zone != c")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConstraint(text)
		if err != nil {
			return
		}
		if again, err := ParseConstraint(c.String()); err != nil || again != c {
			t.Errorf("%q is said %q and read back %+v, %v", text, c, again, err)
		}
	})
}

func TestConstraintsMeetNodes(t *testing.T) {
	n := &Node{Name: "host-1", Zone: "a", Arch: "amd64", Labels: map[string]string{"disk": "hdd", "rack": "7"}, OperatorLabels: map[string]string{"disk": "ssd"}}
	for text, admits := range map[string]bool{
		"disk=ssd": true, "disk=hdd": false, "disk!=hdd": true, "rack=7": true, "rack!=7": false, "gpu=yes": false, "gpu!=yes": true,
		"zone=a": true, "zone!=a": false, "name=host-1": true, "arch=arm64": false,
	} {
		c, err := ParseConstraint(text)
		if err != nil {
			t.Fatal(err)
		}
		if c.Admits(n) != admits {
			t.Errorf("%s: got %t", text, !admits)
		}
		if why := c.Explain(n); !admits && !strings.Contains(why, "needs "+text) {
			t.Errorf("%s: explained as %q", text, why)
		}
	}
}
