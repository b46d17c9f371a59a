package cluster

import (
	"errors"
	"strings"
	"testing"
)

func TestNodesAreFoundAsPeopleNameThem(t *testing.T) {
	d := (&State{}).Draft(1)
	for id, name := range map[NodeID]string{"0000aaaa00000001": "web-1", "0000aaaa00000002": "web-2", "0000bbbb00000003": "twin", "0000cccc00000004": "twin", "0000dddd00000005": "0000aaaa"} {
		d.PutNode(Node{ID: id, Name: name})
	}
	s := d.State()
	for ref, want := range map[string]NodeID{
		"web-1": "0000aaaa00000001", "0000aaaa00000002": "0000aaaa00000002", "0000bb": "0000bbbb00000003", "0000cccc0": "0000cccc00000004",
		"0000aaaa": "0000dddd00000005", // a name goes before the beginning of an ID
	} {
		if n, err := s.FindNode(ref); err != nil || n.ID != want {
			t.Errorf("%q: got %+v, %v, want %s", ref, n, err, want)
		}
	}
	for ref, want := range map[string]struct {
		kind Kind
		says string
	}{
		"twin":     {KindConflict, "twin is 0000bbbb00000003, twin is 0000cccc00000004"},
		"0000aaa":  {KindConflict, "web-1 is 0000aaaa00000001"},
		"000":      {KindNotFound, ""},
		"":         {KindNotFound, ""},
		"web-3":    {KindNotFound, "nearest: web-1, web-2"},
		"0000ffff": {KindNotFound, ""},
	} {
		_, err := s.FindNode(ref)
		var e *Error
		if !errors.As(err, &e) || e.Kind != want.kind || !strings.Contains(e.Reason, want.says) || e.Hint == "" {
			t.Errorf("%q: got %+v, want %s that says %q", ref, err, want.kind, want.says)
		}
	}
}
