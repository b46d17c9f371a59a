package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"paas/cluster"
)

// What a router needs to serve before it reaches any server: the last table,
// and who signs certificates, so that it looks for those that it has.
const (
	tableFile = "routes.json"
	acmeFile  = "acme.json"
)

// decodeTable reads a table file. What it accepts, SetTable can install.
func decodeTable(b []byte) (*cluster.RouteTable, error) {
	var t cluster.RouteTable
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("decode route table: %w", err)
	}
	for _, rt := range t.Routes {
		if !validName(string(rt.Host)) {
			return nil, fmt.Errorf("decode route table: host %q is not valid", rt.Host)
		}
	}
	return &t, nil
}

// loadTable installs the table file's table. A file that cannot be read costs
// only the time until a server is reached, so it is no reason not to start.
func (r *Router) loadTable() {
	b, err := r.disk.read(tableFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var t *cluster.RouteTable
	if err == nil {
		t, err = decodeTable(b)
	}
	if err != nil {
		r.log.Warn("route table not loaded", "err", err)
		return
	}
	r.install(t)
}

// loadACME returns the last settings that a server gave, or none.
func (r *Router) loadACME() (a ACMEConfig) {
	b, err := r.disk.read(acmeFile)
	if errors.Is(err, fs.ErrNotExist) {
		return a
	}
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		r.log.Warn("ACME settings not loaded", "err", err)
		return ACMEConfig{}
	}
	return a
}

// keep saves each new table and ACME settings until ctx ends.
func (r *Router) keep(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return r.keepLast()
		case <-r.unsaved:
		}
		if err := r.save(); err != nil {
			r.log.Warn("router state not saved", "err", err)
			signal(r.unsaved)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
	}
}

// keepLast saves what came just before the end.
func (r *Router) keepLast() error {
	select {
	case <-r.unsaved:
		return r.save()
	default:
		return nil
	}
}

func (r *Router) save() error {
	for name, value := range map[string]any{tableFile: r.Table(), acmeFile: r.certs.settings()} {
		b, err := json.Marshal(value)
		if err == nil {
			err = r.disk.write(name, b)
		}
		if err != nil {
			return fmt.Errorf("save %s: %w", name, err)
		}
	}
	return nil
}
