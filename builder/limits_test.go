package builder

import (
	"testing"
	"time"
)

func TestDurationsForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{20 * time.Second: "20s", 20 * time.Minute: "20m", 10 * time.Hour: "10h",
		time.Hour + 30*time.Minute: "1h30m", 100 * time.Second: "1m40s", time.Second: "1s", 1500 * time.Millisecond: "1.5s"} {
		if got := plainDuration(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
