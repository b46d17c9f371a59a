package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"paas/cluster"
)

const (
	// maxSkew is how far clocks may be apart before anybody is told.
	maxSkew = 5 * time.Second
	// badSkew is what certificates and tokens bear (identity's skew).
	badSkew = 5 * time.Minute
	// dateGrain is how exactly an HTTP answer says the time.
	dateGrain = time.Second
)

// clockFacts is this host's clock and what it can be compared with. Zero times
// are not known.
type clockFacts struct {
	Now time.Time
	// Newest is the time stamp of the newest thing in the cluster's state.
	Newest time.Time
	// Server is the server's clock, read within Took before or after Now.
	Server time.Time
	Took   time.Duration
	// Hardware is the clock that goes on without power, in whatever zone.
	Hardware time.Time
	// Free says that nobody keeps the clock right: the kernel was told of no
	// synchronisation for hours.
	Free bool
}

// readClock asks the kernel about the host's own clock. root is "/" but for tests.
func readClock(root string, now time.Time) clockFacts {
	f := clockFacts{Now: now}
	var timex unix.Timex // modes 0: it only reads, which everybody may
	if _, err := unix.Adjtimex(&timex); err == nil {
		f.Free = timex.Status&unix.STA_UNSYNC != 0
	}
	data, err := os.ReadFile(filepath.Join(root, "sys/class/rtc/rtc0/since_epoch"))
	if seconds, bad := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && bad == nil {
		f.Hardware = time.Unix(seconds, 0)
	}
	return f
}

// judgeClock finds a clock that is wrong, either way, as far as anybody here can
// know: the state holds times that are past, the server has a clock of its own,
// and so has the hardware.
func judgeClock(f clockFacts) finding {
	const do = "set it: sudo timedatectl set-ntp true"
	if behind := f.Newest.Sub(f.Now); !f.Newest.IsZero() && behind > maxSkew {
		return skewed(behind, "behind the newest event of the cluster", do)
	}
	if !f.Server.IsZero() {
		apart, bound := f.Now.Sub(f.Server), maxSkew+f.Took+dateGrain
		if apart > bound {
			return skewed(apart, "ahead of the server's", do+"\nif it is the server's that is wrong, set that one")
		}
		if -apart > bound {
			return skewed(-apart, "behind the server's", do+"\nif it is the server's that is wrong, set that one")
		}
	}
	if !f.Free {
		return fine("clock", "the clock says %s", f.Now.UTC().Format(time.RFC3339))
	}
	if apart := f.Now.Sub(f.Hardware); !f.Hardware.IsZero() && !wholeZone(apart) {
		where := "ahead of"
		if apart < 0 {
			where = "behind"
		}
		return warning("clock", do+"\nif the clock is right: sudo hwclock --systohc", "nobody keeps the clock right, and it is %s %s the hardware's", short(apart.Abs()), where)
	}
	return warning("clock", do, "nobody keeps the clock right (no NTP); it says %s", f.Now.UTC().Format(time.RFC3339))
}

// wholeZone reports whether a hardware clock is as far away as a zone may be:
// some run in local time.
func wholeZone(apart time.Duration) bool {
	return apart.Abs() <= 15*time.Hour && (apart-apart.Round(15*time.Minute)).Abs() < time.Minute
}

func skewed(by time.Duration, how, do string) finding {
	if by < badSkew {
		return warning("clock", do, "this clock is %s %s", short(by), how)
	}
	return broken("clock", cluster.Errorf(cluster.KindInvalid, "clock", "this clock is %s %s", short(by), how).
		Because("%s", fmt.Sprintf("certificates and tokens bear %s", short(badSkew))).WithHint(do))
}
