package cluster

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestNamesAreOrderedAsPeopleDo(t *testing.T) {
	want := []string{"", "7", "h01", "h1", "h2", "h2-a10", "h10", "h10a", "web.9", "web.10", "worker"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareNames)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOrderOfNamesIsAnOrder: sorting needs one in which every three agree.
func TestOrderOfNamesIsAnOrder(t *testing.T) {
	name := rapid.StringMatching(`[ab0-2.]{0,5}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := name.Draw(t, "a"), name.Draw(t, "b"), name.Draw(t, "c")
		if CompareNames(a, b) != -CompareNames(b, a) || (CompareNames(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q: %d and %d", a, b, CompareNames(a, b), CompareNames(b, a))
		}
		if CompareNames(a, b) < 0 && CompareNames(b, c) < 0 && CompareNames(a, c) >= 0 {
			t.Fatalf("%q < %q < %q, but not the ends", a, b, c)
		}
	})
}
