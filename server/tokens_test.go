package server

import (
	"testing"
	"time"
)

func TestALifeInDaysIsToldInDays(t *testing.T) {
	for d, want := range map[time.Duration]string{900 * 24 * time.Hour: "900 days", 36 * time.Hour: "36h0m0s", time.Second: "1s"} {
		if got := inDays(d); got != want {
			t.Errorf("%d: %s, want %s", d, got, want)
		}
	}
}
