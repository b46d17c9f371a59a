package server

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a protected server starts to read pushes is not protected.
func TestGitChildrenHaveNoScoreOfTheServers(t *testing.T) {
	const own = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(own, []byte("300"), 0o644); err != nil { // a lower one needs rights that a test may not have
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(own, before, 0o644) })
	cmd := exec.CommandContext(t.Context(), "git", "-c", "alias.wait=!echo $PPID; read end", "wait")
	in, w := io.Pipe()
	out, stdout := io.Pipe()
	cmd.Stdin, cmd.Stdout = in, stdout
	ended := make(chan error, 1)
	go func() { ended <- runGit(t.Context(), cmd) }()
	pid, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	score := ""
	for end := time.Now().Add(10 * time.Second); score != "0" && time.Now().Before(end); {
		data, err := os.ReadFile("/proc/" + strings.TrimSpace(pid) + "/oom_score_adj")
		if err != nil {
			t.Fatal(err)
		}
		score = strings.TrimSpace(string(data))
	}
	_ = w.Close() // never fails
	<-ended       // read found no line
	if score != "0" {
		t.Errorf("git has %s", score)
	}
}
