package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"paas/builder"
	"paas/cluster"
)

// buildFlags are those of commands that run a builder.
func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "build-network", Usage: "`NETWORK` of builds, instead of the engine's bridge"},
		&cli.StringFlag{Name: "build-memory", Usage: "`SIZE` for the steps of all builds together, such as 2G", DefaultText: "half the host's, at most 4G"},
		&cli.DurationFlag{Name: "build-time", Usage: "`TIME` that one build may take", DefaultText: "20m"},
		&cli.StringFlag{Name: "offer", Usage: "`PORTS` of this host that apps and builds may reach, such as a proxy's: 3128,5432"},
	}
}

// Bounds of what an operator may choose.
const (
	leastBuildMemory = 64 << 20
	mostBuildTime    = 24 * time.Hour
)

// buildLimits reads what buildFlags say about one build.
func (in *invocation) buildLimits() (builder.Limits, error) {
	var l builder.Limits
	if text := in.String("build-memory"); text != "" {
		n, ok := builder.ParseBytes(text)
		if !ok || n < leastBuildMemory {
			return l, cluster.Invalid("build-memory", "--build-memory %s is no amount of memory from 64M", oneLine(text)).WithHint("write it as 2G or 512M")
		}
		l.MemoryBytes = n
	}
	l.Time = in.Duration("build-time")
	if in.IsSet("build-time") && (l.Time < time.Second || l.Time > mostBuildTime) {
		return l, cluster.Invalid("build-time", "--build-time %s is not between 1s and 24h", l.Time)
	}
	return l, nil
}

// offers reads --offer.
func (in *invocation) offers() ([]uint16, error) {
	text := in.String("offer")
	if text == "" {
		return nil, nil
	}
	var out []uint16
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || n == 0 {
			return nil, cluster.Invalid("offer", "--offer %q is no port", oneLine(part)).WithHint("write ports with commas between: --offer 3128,5432")
		}
		out = append(out, uint16(n))
	}
	return out, nil
}
