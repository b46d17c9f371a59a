package agent

import (
	"bytes"
	"testing"
)

func TestRefusedCommandsAreToldAsShellsDo(t *testing.T) {
	for said, want := range map[string]int{
		`OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: "nope": executable file not found in $PATH: unknown` + "\r\n":                      127,
		`OCI runtime exec failed: exec failed: unable to start container process: exec: "/nope": stat /nope: no such file or directory: unknown`:                                                   127,
		`Error response from daemon: failed to create shim: OCI runtime create failed: container_linux.go:380: starting container process caused: exec: "/etc/passwd": permission denied: unknown`: 126,
		`executable file not found`:                       0,
		`OCI runtime exec failed: cannot allocate memory`: 0,
		`ls: /nope: no such file or directory`:            0,
	} {
		if got, _ := refusedCommand(said); got != want {
			t.Errorf("%q: got %d, want %d", said, got, want)
		}
	}
}

func TestOnlyTheEnginesWordsAreHeldBack(t *testing.T) {
	for _, c := range []struct {
		parts     []string
		out, held string
	}{
		{[]string{"OC", "I runtime exec failed: ", "x"}, "", "OCI runtime exec failed: x"},
		{[]string{"OC", "TOPUS"}, "OCTOPUS", ""},
		{[]string{"hello", "OCI runtime exec failed: "}, "helloOCI runtime exec failed: ", ""},
	} {
		var out bytes.Buffer
		h := &heldWriter{w: &out}
		for _, p := range c.parts {
			if n, err := h.Write([]byte(p)); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		if out.String() != c.out || string(h.held) != c.held {
			t.Errorf("%q: passed %q, held %q", c.parts, out.String(), h.held)
		}
	}
}
