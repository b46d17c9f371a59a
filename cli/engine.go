package cli

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"

	"paas/cluster"
)

// oldestEngine is the API of Docker Engine 19.03.
const oldestEngine = 40

// checkEngine asks the local Docker Engine for its version. Errors say what to
// install, start or allow.
func checkEngine(ctx context.Context) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	host := os.Getenv(client.EnvOverrideHost)
	if host == "" {
		if err := dialEngine(ctx, client.DefaultDockerHost); err != nil {
			return "", err
		}
	} else if err := dialEngine(ctx, host); err != nil {
		e := asError(err)
		return "", e.WithHint("DOCKER_HOST is " + host + ": is it right? unset it for this host's own engine\nor " + e.Hint)
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", cluster.Invalid("docker", "Docker Engine cannot be asked").Because("%v", err).WithHint("check DOCKER_HOST")
	}
	defer func() { _ = c.Close() }()
	v, err := c.ServerVersion(ctx)
	if err != nil {
		return "", cluster.Errorf(cluster.KindUnavailable, "docker", "Docker Engine does not answer").Because("%v", err).
			WithHint("see what is wrong with it: docker version")
	}
	minor, err := strconv.Atoi(strings.TrimPrefix(v.APIVersion, "1."))
	if err == nil && minor < oldestEngine {
		return v.Version, cluster.Errorf(cluster.KindUnavailable, "docker", "Docker Engine %s is too old", v.Version).
			Because("its API is %s; 1.%d is needed", v.APIVersion, oldestEngine).WithHint("install a newer one: apt-get install docker.io")
	}
	return v.Version, nil
}

// dialEngine tells apart why an engine cannot be reached, from the socket itself.
func dialEngine(ctx context.Context, host string) error {
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "unix" {
		return nil // another transport: the client will say
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
	if err == nil {
		return conn.Close()
	}
	unreachable := func(what string) *cluster.Error {
		return cluster.Errorf(cluster.KindUnavailable, "docker", "%s", what)
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return unreachable("you may not use Docker Engine").Because("permission denied on %s", u.Path).
			WithHint("join its group and log in again: sudo usermod -aG docker $USER")
	case errors.Is(err, os.ErrNotExist):
		return unreachable("Docker Engine is not installed, or not started").Because("there is no %s", u.Path).
			WithHint("install it: sudo apt-get install docker.io\nor start it: sudo systemctl start docker").Wrap(err)
	}
	return unreachable("Docker Engine does not run").Because("%s: %v", u.Path, innermost(err)).
		WithHint("start it: sudo systemctl start docker").Wrap(err)
}

// engineFor is checkEngine for a server. Where paas ran before, replicas may run
// that are served without an engine, as long as that is not there.
func (in *invocation) engineFor(ctx context.Context, dir string) error {
	_, err := checkEngine(ctx)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		if _, none := readRecord(dir); none == nil {
			in.out.warnf("%s: what runs is served without it, until it is there", asError(err).Message)
			return nil
		}
	}
	return err
}
