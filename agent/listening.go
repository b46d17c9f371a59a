package agent

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// listeningPorts names what listens in the network of process pid: "3000", or
// "localhost:3000" when nobody outside the container can reach it. It is best
// effort: reading the /proc of others needs root, on the engine's own host.
func listeningPorts(pid int) []string {
	if pid <= 1 {
		return nil
	}
	var out []string
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		out = append(out, parseListening(string(data))...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// parseListening reads the kernel's table of TCP sockets. Addresses are words of
// hex in the host's byte order.
func parseListening(table string) []string {
	const listen = "0A"
	var out []string
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != listen {
			continue
		}
		host, hexPort, _ := strings.Cut(f[1], ":")
		port, err := strconv.ParseUint(hexPort, 16, 16)
		if err != nil {
			continue
		}
		switch host {
		case "00000000", "00000000000000000000000000000000":
			out = append(out, strconv.Itoa(int(port)))
		case "0100007F", "00000000000000000000000001000000":
			out = append(out, "localhost:"+strconv.Itoa(int(port)))
		}
	}
	return out
}
