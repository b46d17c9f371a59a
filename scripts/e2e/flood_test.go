//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLogsOfAFlood follows an app that prints 10 MB a second. Who follows gets what
// a person could read at most and is told of the rest; what it costs is printed.
func TestLogsOfAFlood(t *testing.T) {
	const watched = 5 * time.Second
	h := newHost(t)
	dir := h.repo("probe")
	h.write(dir, "Procfile", "web: /probe\nflooder: /probe flood 10\n")
	h.commit(dir, "A process that prints a lot")
	h.must(dir, "apps", "create", "chatty")
	h.push(dir)
	h.must(dir, "scale", "flooder=1")
	busyAlone, _ := h.usage()
	alone := time.Now()
	<-time.After(watched)
	now, _ := h.usage()
	share := func(used, wall time.Duration) string {
		return fmt.Sprintf("%.0f %%", 100*used.Seconds()/wall.Seconds())
	}
	t.Logf("nobody follows: %s of a processor", share(now-busyAlone, time.Since(alone)))

	ctx, cancel := context.WithTimeout(context.Background(), watched)
	defer cancel()
	cmd := h.command(ctx, h.bin, "logs", "-f", "-n", "0", "-p", "flooder")
	cmd.Dir, cmd.Env = dir, h.env()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	began, lines, notices, first := time.Now(), 0, 0, ""
	for in := bufio.NewScanner(out); in.Scan(); lines++ {
		if strings.Contains(in.Text(), " lines left out: more than can be read, or than 2,000 lines or 1 MiB in a second") {
			notices++
			if first == "" {
				first = in.Text()
			}
		}
	}
	_ = cmd.Wait() // it was killed
	took := time.Since(began)
	used, memory := h.usage()
	t.Logf("%d lines and %d notices in %v, %s of a processor, %d MiB of memory\n%s", lines, notices, took.Round(time.Millisecond), share(used-now, took), memory>>20, first)
	if most := 10_000 + int(took.Seconds()*2000) + 100; lines > most || lines < 2000 {
		t.Errorf("%d lines in %v, want 2000 to %d", lines, took, most)
	}
	if notices == 0 || notices > int(took.Seconds())*2+2 {
		t.Errorf("%d notices in %v", notices, took)
	}
	if memory > 512<<20 {
		t.Errorf("paas has %d MiB of memory", memory>>20)
	}
}

// usage is the processor time that paas up has used, and its memory.
func (h *host) usage() (used time.Duration, memory int64) {
	h.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.cmd.Process.Pid))
	if err != nil {
		h.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	f := strings.Fields(rest) // proc(5): the state is the third field of all
	number := func(i int) int64 {
		n, err := strconv.ParseInt(f[i-3], 10, 64)
		if err != nil {
			h.t.Fatal(err)
		}
		return n
	}
	return time.Duration(number(14)+number(15)) * 10 * time.Millisecond, number(24) * int64(os.Getpagesize())
}
