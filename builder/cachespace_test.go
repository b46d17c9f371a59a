package builder

import "testing"

func TestCacheSpaces(t *testing.T) {
	a := cacheSpace("secret", "blog")
	if len(a) != 32 || a != cacheSpace("secret", "blog") {
		t.Errorf("space %q, want the same 32 digits each time", a)
	}
	for _, other := range []string{cacheSpace("secret", "shop"), cacheSpace("another", "blog")} {
		if a == other {
			t.Error("two apps or two clusters share a space")
		}
	}
}
