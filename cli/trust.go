package cli

import (
	"context"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"paas/cluster"
)

func trustVerb() *verb {
	return &verb{name: "trust", group: groupOperate, summary: "make browsers trust private host names", needs: needsServer, run: trust,
		about: "Hosts such as APP.localhost have certificates of the cluster's own authority. This writes its\n" +
			"certificate and says how to trust it; it changes no trust store itself.",
		flags: []cli.Flag{&cli.BoolFlag{Name: "print", Usage: "only print the certificate (PEM)"},
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "write it to `FILE`"}},
		examples: []string{"paas trust", "paas trust --print > edge-ca.pem"}}
}

func trust(ctx context.Context, in *invocation) error {
	s, err := in.client.Status(ctx)
	if err != nil {
		return err
	}
	if in.Bool("print") {
		_, err := io.WriteString(in.out.out, s.EdgeCA)
		return err
	}
	name := in.String("out")
	if name == "" {
		files, err := home(in.env)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(files.dir, 0o700); err != nil {
			return err
		}
		name = files.dir + "/edge-ca-" + string(s.ID) + ".pem"
	}
	if err := os.WriteFile(name, []byte(s.EdgeCA), 0o644); err != nil {
		return cluster.Invalid("file", "%s cannot be written", name).Because("%v", err)
	}
	return in.print(struct {
		File string `json:"file"`
	}{name}, func(o *output) {
		file := shellQuote(name)
		o.done("the authority of private host names is in %s", name)
		o.printf("  Debian, Ubuntu  sudo install -m 0644 %s /usr/local/share/ca-certificates/paas-%s.crt && sudo update-ca-certificates\n", file, s.ID)
		o.printf("  Firefox, Chrome certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n paas-%s -i %s\n", s.ID, file)
		o.printf("  curl            curl --cacert %s %s\n", file, appURLPattern(string(s.Domain), s.HTTPSPort))
	})
}
