package cli

import (
	"bufio"
	"context"
	"io"
	"net/url"
	"strings"

	"paas/cluster"
)

func gitCredentialVerb() *verb {
	return &verb{name: "git-credential", hidden: true, summary: "credential helper for git", args: "get|store|erase", takes: one, needs: needsServer,
		about: "git runs it; paas apps create sets it up. It answers for its context's server alone.", run: gitCredential}
}

// gitCredential implements git-credential(7): git asks with "get"; what it wants
// stored or erased is not ours to change.
func gitCredential(_ context.Context, in *invocation) error {
	if in.arg(0) != "get" {
		return nil
	}
	asked, err := readCredential(in.stdin)
	if err != nil {
		return err
	}
	own, err := url.Parse(in.target.server)
	if err != nil || asked["protocol"] != own.Scheme || !strings.EqualFold(asked["host"], own.Host) {
		return nil // another helper may know
	}
	if in.target.token == "" {
		return cluster.Errorf(cluster.KindUnauthenticated, "token", "context %s has no token", in.target.label()).WithHint("log in: paas login " + in.target.server)
	}
	_, err = io.WriteString(in.out.out, "username=paas\npassword="+in.target.token.Reveal()+"\n")
	return err
}

// readCredential reads key=value lines up to an empty one. A key that is there
// twice means nothing: git, which reads the first, would send the answer to another
// host than the one that it was for.
func readCredential(r io.Reader) (map[string]string, error) {
	asked := map[string]string{}
	s := bufio.NewScanner(io.LimitReader(r, 64<<10))
	for s.Scan() && s.Text() != "" {
		key, value, ok := strings.Cut(s.Text(), "=")
		if _, twice := asked[key]; twice && !strings.HasSuffix(key, "[]") { // "capability[]" is a list
			return nil, cluster.Invalid("credential", "git asks for two credentials at once").Because("%s is there twice", key)
		}
		if ok {
			asked[key] = value
		}
	}
	return asked, s.Err()
}
