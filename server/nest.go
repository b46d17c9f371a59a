package server

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// layer is one part of a running server.
type layer struct {
	name string
	run  func(ctx context.Context) error
}

// nest runs layers inside one another: when ctx ends, the last one ends first,
// and each of the others only when everything inside it is gone. A layer that
// ends by itself takes those inside it along, then those around it.
func nest(ctx context.Context, layers ...layer) error {
	if len(layers) == 0 {
		<-ctx.Done()
		return nil
	}
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		return layers[0].run(outer)
	})
	g.Go(func() error {
		defer stop()
		return nest(inner, layers[1:]...)
	})
	return g.Wait()
}
