package cli

import (
	"context"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"paas/api"
	"paas/cluster"
)

func logsVerb() *verb {
	return &verb{name: "logs", aliases: []string{"log"}, group: groupLook, summary: "output of an app's replicas", args: "[TYPE | INSTANCE]", takes: upToOne, needs: needsApp, run: logs,
		about: "Without an argument it is the output of all replicas; web is one process type's, web.1 one replica's.",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f", "tail", "t"}, Usage: "go on until Ctrl-C"},
			&cli.IntFlag{Name: "lines", Aliases: []string{"n", "num"}, Usage: "the last `N` lines of each replica", Value: 100},
			&cli.StringFlag{Name: "process", Aliases: []string{"p", "process-type"}, Usage: "one process `TYPE` only"},
			&cli.StringFlag{Name: "instance", Aliases: []string{"i"}, Usage: "one replica only: `web.1`"},
		},
		examples: []string{"paas logs -f", "paas logs -n 20 -p worker", "paas logs web.1 --json"}}
}

func logs(ctx context.Context, in *invocation) error {
	if n := in.Int("lines"); n < 0 || n > 10000 {
		return cluster.Invalid("lines", "--lines %d is out of range", n).Because("it is 0 to 10000")
	}
	if in.Int("lines") == 0 && !in.Bool("follow") {
		return cluster.Invalid("lines", "--lines 0 shows nothing").WithHint("for what comes from now on add -f: paas logs -f -n 0")
	}
	process, instance, err := in.whose()
	if err != nil {
		return err
	}
	req := api.LogsRequest{App: in.app, Type: process, Instance: instance, Lines: in.Int("lines"), Follow: in.Bool("follow")}
	if req.Lines == 0 {
		req.Lines = -1 // only what comes from now on
	}
	lines := 0
	err = in.client.Logs(ctx, req, func(l api.LogLine) error {
		lines++
		if in.out.json {
			return in.out.line(l)
		}
		return in.out.logLine(l)
	})
	if ctx.Err() != nil && isDone(ctx, err) {
		in.out.notef("Not followed any more; %s runs on.\n", in.app)
		return status(exitInterrupted)
	}
	if err == nil && lines == 0 {
		in.out.notef("No output yet.\n")
	}
	return err
}

// whose output is meant: the argument's, which is a type or a replica, or the flags'.
func (in *invocation) whose() (cluster.ProcessType, string, error) {
	process, instance, arg := cluster.ProcessType(in.String("process")), in.String("instance"), in.arg(0)
	if arg == "" {
		return process, instance, nil
	}
	if process != "" || instance != "" {
		return "", "", cluster.Invalid("process", "no output is shown").Because("a process type or replica is named twice: %s, and with a flag", oneLine(arg)).
			WithHint("name it once: paas logs web.1")
	}
	kind, _, replica := strings.Cut(arg, ".")
	if err := cluster.ProcessType(kind).Validate(); err != nil {
		return "", "", err
	}
	if replica {
		return "", arg, nil
	}
	return cluster.ProcessType(kind), "", nil
}

// logLine prints short local times for people, Heroku's form for programs. Only
// on a terminal is an app's text cleaned: there it could do harm.
func (o *output) logLine(l api.LogLine) error {
	if !o.outTTY {
		_, err := io.WriteString(o.out, l.At.UTC().Format("2006-01-02T15:04:05.000Z07:00")+" "+l.Source+"["+l.Instance+"]: "+l.Text+"\n")
		return err
	}
	s := o.outStyle
	name := s.instance(l.Instance)
	if l.Source == "paas" {
		name = s.dim("paas " + l.Instance)
	}
	_, err := io.WriteString(o.out, s.dim(l.At.Local().Format("15:04:05.000"))+" "+name+" "+plainText(l.Text)+"\n")
	return err
}

// instance gives each replica a colour of its own.
func (s style) instance(name string) string {
	sum := 0
	for _, c := range []byte(name) {
		sum += int(c)
	}
	return s.sgr([]string{"36", "35", "34", "32", "33", "96", "95", "94"}[sum%8], name)
}
