package agent

import (
	"context"
	"crypto/tls"

	"paas/api"
	"paas/identity"
)

// servePort has the node's port between hosts, where no server of the same process
// has it, until ctx ends. Connections of hosts that were removed are ended.
func (a *Agent) servePort(ctx context.Context) error {
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	port := api.NewPort(api.PortConfig{Listener: a.config.Listener, Node: a.config.Node, Refused: a.hosts.refuses,
		Protocols: a.protocols(serving), Logger: a.log})
	a.port.Store(port)
	err := port.Accept(ctx)
	end()
	port.Close()
	port.Wait()
	return err
}

// protocols is what the port speaks; what is begun with it ends with ctx.
func (a *Agent) protocols(ctx context.Context) []api.Protocol {
	return []api.Protocol{{ALPN: []string{api.ALPNTunnel}, Roles: []identity.Role{identity.RoleServer, identity.RoleAgent},
		Serve: func(conn *tls.Conn, from api.Peer) { a.ServeTunnel(ctx, conn, from) }}}
}
