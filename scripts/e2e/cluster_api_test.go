//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"paas/identity"
)

// apiOf is the API of one server, asked from host 0. The command line is the
// interface that is promised; this is for clients that ask often.
type apiOf struct {
	f    *fleet
	m    *member
	http *http.Client
}

func (f *fleet) api(m *member) *apiOf {
	tr := &http.Transport{MaxIdleConnsPerHost: 8, ForceAttemptHTTP2: true, TLSClientConfig: identity.PinnedConfig(f.ca),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return f.bed.dial(ctx, "0", addr) }}
	tr.TLSClientConfig.NextProtos = []string{"http/1.1"} // a connection for each request in flight: one that hangs delays no other
	tr.ForceAttemptHTTP2 = false
	return &apiOf{f: f, m: m, http: &http.Client{Transport: tr}}
}

// errNothingSent is of requests that reached nobody.
var errNothingSent = errors.New("nothing was sent")

// call makes a request and decodes the answer into out, unless that is nil.
func (a *apiOf) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+a.m.addr+":7443"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.f.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := a.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED) {
			return errors.Join(errNothingSent, err)
		}
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return err
	case res.StatusCode/100 != 2:
		return fmt.Errorf("%s %s: %d %.400s", method, path, res.StatusCode, text)
	case out == nil:
		return nil
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = text
		return nil
	}
	return json.Unmarshal(text, out)
}

// nodeLine is a node as `paas nodes --json` shows it.
type nodeLine struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Zone     string `json:"zone"`
	State    string `json:"state"`
	Leader   bool   `json:"leader"`
	Server   bool   `json:"server"`
	Router   bool   `json:"router"`
	Draining bool   `json:"draining"`
}

// nodes asks the servers in turn until one answers.
func (f *fleet) nodes() (list []nodeLine, err error) {
	for _, m := range f.servers() {
		if !m.running() {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err = f.api(m).call(ctx, http.MethodGet, "/v1/nodes", nil, &list)
		cancel()
		if err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("no server answers: %w", err)
}

// allUp waits until every process that runs is an up node, and no other is.
func (f *fleet) allUp(within time.Duration) {
	f.t.Helper()
	f.await("all nodes are up", within, f.notUp)
}

func (f *fleet) notUp() string {
	list, err := f.nodes()
	if err != nil {
		return err.Error()
	}
	for _, m := range f.members {
		i := slices.IndexFunc(list, func(n nodeLine) bool { return n.Name == m.name })
		switch {
		case m.wanted && !m.running():
			return m.name + "'s process has ended by itself:\n" + tail(m.said(), 5)
		case i < 0 && m.everStarted:
			return m.name + " is no node yet:\n" + tail(m.said(), 3)
		case i >= 0 && (list[i].State == "up") != m.running():
			return fmt.Sprintf("%s is %s, and runs: %v", m.name, list[i].State, m.running())
		}
	}
	return ""
}

// leader is the member that leads, as some server knows.
func (f *fleet) leader() *member {
	f.t.Helper()
	var lead *member
	f.await("the cluster has a leader", 20*time.Second, func() string {
		list, err := f.nodes()
		if err != nil {
			return err.Error()
		}
		for _, n := range list {
			if n.Leader {
				lead = f.member(n.Name)
				return ""
			}
		}
		return fmt.Sprint("no node leads: ", list)
	})
	return lead
}

// followers are the servers that run and do not lead.
func (f *fleet) followers() []*member {
	f.t.Helper()
	lead := f.leader()
	return slices.DeleteFunc(f.servers(), func(m *member) bool { return m == lead || !m.running() })
}

// anyServer makes a request of whichever server answers.
func (f *fleet) anyServer(method, path string, in, out any) {
	f.t.Helper()
	f.await(method+" "+path, 20*time.Second, func() string {
		var said []string
		for _, m := range f.servers() {
			if !m.running() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := f.api(m).call(ctx, method, path, in, out)
			cancel()
			if err == nil {
				return ""
			}
			said = append(said, m.name+": "+err.Error())
		}
		return strings.Join(said, "\n")
	})
}

// exports waits until all servers that run have the same state, byte by byte.
func (f *fleet) exports(within time.Duration) {
	f.t.Helper()
	f.await("every server exports the same", within, func() string {
		var first []byte
		for _, m := range f.servers() {
			if !m.running() {
				continue
			}
			var text []byte
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := f.api(m).call(ctx, http.MethodGet, "/v1/export?stale=true", nil, &text)
			cancel()
			switch {
			case err != nil:
				return m.name + ": " + err.Error()
			case first == nil:
				first = text
			case !bytes.Equal(first, text):
				return fmt.Sprintf("%s differs: %d and %d bytes", m.name, len(first), len(text))
			}
		}
		return ""
	})
}
