package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
	"paas/server"
)

func clusterVerb() *verb {
	return &verb{name: "cluster", group: groupOperate, summary: "the servers and the whole state",
		examples: []string{"paas cluster status", "paas cluster export > state.json"},
		verbs: []*verb{
			{name: "status", summary: "servers: who leads, who votes, how many may be lost", needs: needsServer, run: clusterStatus,
				examples: []string{"paas cluster status", "paas cluster status --json"}},
			{name: "export", summary: "print the whole state in its canonical form, secrets sealed", needs: needsServer,
				examples: []string{"paas cluster export | sha256sum"},
				run:      func(ctx context.Context, in *invocation) error { return in.client.Export(ctx, in.out.out) }},
			{name: "recover", summary: "make one server the only one, when most are lost for good", run: recoverCluster,
				about: "It runs on the host of a server that is left, while no server runs. What that server has counts\n" +
					"from then on; what only the lost ones had is lost. They are removed from the cluster: if one\n" +
					"comes back it is refused, and joins anew with an empty data directory. Agents and apps go on\n" +
					"meanwhile. If only a minority is lost nothing has to be recovered: paas nodes remove NODE.",
				flags: []cli.Flag{
					&cli.StringFlag{Name: "data", Usage: "data `DIR` of the server that is left", EnvVars: []string{"PAAS_DATA"}},
					&cli.BoolFlag{Name: "yes", Usage: "do it without a question"},
					&cli.BoolFlag{Name: "force", Usage: "although so many of the others answer that nothing is lost"},
				},
				examples: []string{"paas cluster recover --data /var/lib/paas"}},
		}}
}

func clusterStatus(ctx context.Context, in *invocation) error {
	st, err := in.client.Status(ctx)
	if err != nil {
		return err
	}
	if in.old != nil {
		in.askEach(ctx, st.Members)
	}
	return in.print(st, func(o *output) {
		voters, up := 0, 0
		var rows [][]string
		for _, m := range st.Members {
			if m.Voter {
				voters++
			}
			if m.Voter && m.State == cluster.NodeUp {
				up++
			}
			rows = append(rows, []string{m.Name, m.Zone, serverRole(&m), o.state(serverState(&m)), m.Address, string(m.ID)})
		}
		o.table([]string{"SERVER", "ZONE", "ROLE", "STATE", "ADDRESS", "ID"}, rows)
		o.printf("\n%s\n", quorum(voters, up))
	})
}

// askEach replaces what is known of servers that nobody leads by whether they answer.
func (in *invocation) askEach(ctx context.Context, members []api.ServerStatus) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var work sync.WaitGroup
	for i := range members {
		m := &members[i]
		m.Leader = false
		work.Go(func() {
			m.State = cluster.NodeDown
			if _, err := in.client.StatusOf(ctx, m.Address); err == nil {
				m.State = cluster.NodeUp
			}
		})
	}
	work.Wait()
}

// askTime is how long a server may take to say that it is there.
const askTime = 3 * time.Second

func serverRole(m *api.ServerStatus) string {
	switch {
	case m.Leader:
		return "leader"
	case m.Voter:
		return "voter"
	}
	return "learner"
}

func serverState(m *api.ServerStatus) (glyph, string) {
	switch {
	case m.State == cluster.NodeUp:
		return good, "up"
	case m.State == cluster.NodeDown:
		return bad, "down"
	}
	return idle, m.State.String()
}

// quorum says how many servers may be lost.
func quorum(voters, up int) string {
	need := cluster.Majority(voters)
	spare := max(0, up-need)
	text := fmt.Sprintf("%d of %d voters up; %d %s needed for changes", up, voters, need, isAre(need))
	switch {
	case up < need:
		return fmt.Sprintf("%s: nothing can be changed until %d more %s up", text, need-up, isAre(need-up))
	case voters < 3:
		return text + "; three servers survive the loss of one: paas join create --role server"
	case spare == 0:
		return text + ": one more must not be lost"
	}
	return fmt.Sprintf("%s: %d more may be lost", text, spare)
}

func recoverCluster(ctx context.Context, in *invocation) error {
	if in.String("data") == "" {
		return cluster.Invalid("data", "the data directory is missing").WithHint("name that of a server that is left: --data DIR")
	}
	dir, err := filepath.Abs(in.String("data"))
	if err != nil {
		return fmt.Errorf("find %s: %w", in.String("data"), err)
	}
	if !isData(dir) {
		return cluster.NotFound("data", "%s holds no server", oneLine(dir)).WithHint("name the data directory of one that is left: --data DIR")
	}
	lock, err := lockData(dir)
	if err != nil {
		return err
	}
	defer lock.release()
	if !in.Bool("force") {
		if err := server.CheckLost(ctx, dir); err != nil {
			return err
		}
	}
	if err := in.confirm(ctx, "The server in "+oneLine(dir)+" becomes the only one; all others are removed. Go on?"); err != nil {
		return err
	}
	others, err := server.Recover(dir, slog.New(slog.NewTextHandler(in.out.err, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	return in.print(struct {
		Data    string           `json:"data"`
		Removed []cluster.Member `json:"removed"`
	}{dir, others}, func(o *output) {
		for _, m := range others {
			o.notef("  %s (%s) is removed when this server starts\n", m.Name, m.Address)
		}
		o.done("%s is the only server of its cluster now", dir)
		o.next("paas server --data "+shellWord(dir)+" …, with the flags as before", "then let new servers join: paas join create --role server")
	})
}
