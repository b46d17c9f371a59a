package cli

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	docker "github.com/docker/docker/api"
	"github.com/docker/docker/client"

	"paas/cluster"
)

// oldestEngine is the API of Docker Engine 19.03.
const oldestEngine = 40

// engineFacts is what can be seen of a Docker Engine from outside, and what it
// said itself.
type engineFacts struct {
	Host      string // DOCKER_HOST; "" is this host's own engine
	Socket    string // the file that it listens on; "" if it is no Unix socket
	Dial      error  // why the socket takes no connection
	Installed bool   // there is a dockerd to start
	Joined    bool   // this user is in the socket's group, since this session began
	Ask       error  // why it did not say its version
	Version   string
	API       string // the newest that it speaks: "1.41"
	LeastAPI  string // the oldest
}

// checkEngine asks the local Docker Engine for its version. Errors say what to
// install, start or allow.
func checkEngine(ctx context.Context) (version string, err error) {
	f := askEngine(ctx)
	return f.Version, judgeEngine(f)
}

// askEngine collects facts for at most ten seconds.
func askEngine(ctx context.Context) engineFacts {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	f := engineFacts{Host: os.Getenv(client.EnvOverrideHost)}
	at := f.Host
	if at == "" {
		at = client.DefaultDockerHost
	}
	if u, err := url.Parse(at); err == nil && u.Scheme == "unix" {
		f.Socket = u.Path
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", u.Path)
		if err != nil {
			f.Dial, f.Installed, f.Joined = err, isInstalled(), hasJoined(u.Path)
			return f
		}
		_ = conn.Close() // it was only to see
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		f.Ask = err
		return f
	}
	defer func() { _ = c.Close() }()
	v, err := c.ServerVersion(ctx)
	f.Version, f.API, f.LeastAPI, f.Ask = v.Version, v.APIVersion, v.MinAPIVersion, err
	return f
}

// isInstalled reports whether the engine's program is where packages put it; a
// user's path may leave out those of administrators.
func isInstalled() bool {
	for _, name := range []string{"/usr/sbin/dockerd", "/usr/bin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/dockerd"} {
		if _, err := os.Stat(name); err == nil {
			return true
		}
	}
	return false
}

// hasJoined reports whether the user is in the group of the file at path, but
// this process is not: groups are given when a session begins.
func hasJoined(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	me, err := user.Current()
	if !ok || err != nil {
		return false
	}
	ours, err := os.Getgroups()
	if err != nil {
		return false
	}
	all, err := me.GroupIds()
	return err == nil && slices.Contains(all, strconv.Itoa(int(stat.Gid))) && !slices.Contains(ours, int(stat.Gid))
}

// judgeEngine says why an engine cannot be used; nil if it can.
func judgeEngine(f engineFacts) error {
	e := f.trouble()
	if e == nil {
		return nil
	}
	if f.Host != "" && (f.Dial != nil || f.Ask != nil) {
		e = e.WithHint("DOCKER_HOST is " + f.Host + ": is it right? unset it for this host's own engine\nor " + e.Hint)
	}
	return e
}

func (f *engineFacts) trouble() *cluster.Error {
	unusable := func(format string, args ...any) *cluster.Error {
		return cluster.Errorf(cluster.KindUnavailable, "docker", format, args...)
	}
	switch {
	case errors.Is(f.Dial, os.ErrPermission) && f.Joined:
		return unusable("you may not use Docker Engine yet").Because("you joined the group of %s after this session began", f.Socket).
			WithHint("log out and in again; or in this shell: newgrp docker")
	case errors.Is(f.Dial, os.ErrPermission):
		return unusable("you may not use Docker Engine").Because("permission denied on %s", f.Socket).
			WithHint("join its group and log in again: sudo usermod -aG docker $USER")
	case errors.Is(f.Dial, os.ErrNotExist) && f.Host != "":
		return unusable("no Docker Engine listens where it should").Because("there is no %s", f.Socket).
			WithHint("install one: sudo apt-get install docker.io\nor start it: sudo systemctl start docker").Wrap(f.Dial)
	case errors.Is(f.Dial, os.ErrNotExist) && !f.Installed:
		return unusable("Docker Engine is not installed").Because("there is no dockerd, and no %s", f.Socket).
			WithHint("install it: sudo apt-get install docker.io").Wrap(f.Dial)
	case f.Dial != nil:
		return unusable("Docker Engine does not run").Because("%s: %v", f.Socket, innermost(f.Dial)).
			WithHint("start it: sudo systemctl start docker\nif it does not stay: sudo journalctl -u docker").Wrap(f.Dial)
	case f.Ask != nil:
		return unusable("Docker Engine does not answer").Because("%v", f.Ask).
			WithHint("see what is wrong with it: docker version\nor start it anew: sudo systemctl restart docker").Wrap(f.Ask)
	case minorOf(f.API) < oldestEngine:
		return unusable("Docker Engine %s is too old", f.Version).Because("its API is %s; 1.%d is needed", f.API, oldestEngine).
			WithHint("install a newer one: sudo apt-get install docker.io")
	case minorOf(f.LeastAPI) > minorOf(docker.DefaultVersion):
		return unusable("Docker Engine %s is too new for this paas", f.Version).
			Because("its API begins with %s; this paas speaks up to %s", f.LeastAPI, docker.DefaultVersion).WithHint("install a newer paas on this host")
	}
	return nil
}

// minorOf is 41 for "1.41", and for what is no such version one that is wanted by
// nobody and refused by nobody.
func minorOf(api string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(api, "1."))
	if err != nil {
		return oldestEngine
	}
	return n
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
