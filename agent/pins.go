package agent

import (
	"context"
	"sync"
)

// pins keep an image in the engine from the look for it until a container has it,
// which keeps it from then on. It is safe for concurrent use.
type pins struct {
	mu    sync.Mutex
	held  map[string]int           // how many hold a name; guarded by mu
	taken map[string]bool          // held since the last call of news; guarded by mu
	going map[string]chan struct{} // names being removed, closed when that is over; guarded by mu
}

func newPins() *pins {
	return &pins{held: map[string]int{}, taken: map[string]bool{}, going: map[string]chan struct{}{}}
}

// hold keeps an image until release is called. It waits for the end of a removal under
// way: whoever holds it looks for the image anew. An error means that ctx ended first.
func (p *pins) hold(ctx context.Context, ref imageRef) (release func(), err error) {
	name := ref.String()
	for {
		p.mu.Lock()
		going := p.going[name]
		if going == nil {
			p.held[name]++
			p.taken[name] = true
		}
		p.mu.Unlock()
		if going == nil {
			return func() { p.release(name) }, nil
		}
		select {
		case <-going:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *pins) release(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[name]--; p.held[name] == 0 {
		delete(p.held, name)
	}
}

// remove calls drop unless somebody holds the name, and says whether it is gone.
func (p *pins) remove(name string, drop func() (bool, error)) (bool, error) {
	over := make(chan struct{})
	p.mu.Lock()
	if p.held[name] > 0 {
		p.mu.Unlock()
		return false, nil
	}
	p.going[name] = over
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.going, name)
		p.mu.Unlock()
		close(over)
	}()
	return drop()
}

// news are the names that are held, or were since the last call.
func (p *pins) news() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.taken
	p.taken = map[string]bool{}
	for name := range p.held {
		out[name], p.taken[name] = true, true
	}
	return out
}
