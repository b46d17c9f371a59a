package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// accept notes what a push was granted. git moves the refs after that and tells the
// pusher at once, though only their content is on the disk then, not their names.
func (p *push) accept(updates []refUpdate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted = updates
}

// ask notes what a push is about to do. Until its end the refs are its own: the state
// moves a branch when its release succeeds, and git right after that.
func (p *push) ask(updates []refUpdate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = updates
}

// owns is what was asked.
func (p *push) owns() []refUpdate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// granted is what was accepted; nil before that.
func (p *push) granted() []refUpdate {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// settle puts on the disk where git has moved refs by now. It comes before every
// word to the pusher, for one of them is that the refs are moved.
func (p *push) settle() error {
	done := map[string]bool{}
	for _, u := range p.granted() {
		for dir := filepath.Dir(u.Name); ; dir = filepath.Dir(dir) { // a ref's folders may be new
			if err := syncOnce(done, filepath.Join(p.repo, dir)); err != nil {
				return fmt.Errorf("keep %s: %w", plain(u.Name), err)
			}
			if !strings.Contains(dir, "/") {
				break
			}
		}
	}
	for _, dir := range []string{"objects/pack", "."} { // packs; the list of packed refs
		if err := syncOnce(done, filepath.Join(p.repo, dir)); err != nil {
			return fmt.Errorf("keep a push: %w", err)
		}
	}
	return nil
}

// syncOnce makes the names in a folder survive a power cut. One that is gone has
// none left; that it is gone is its parent's.
func syncOnce(done map[string]bool, dir string) error {
	if done[dir] {
		return nil
	}
	done[dir] = true
	if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
