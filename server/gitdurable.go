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

// settle puts on the disk where git has moved refs by now. It comes before every
// word to the pusher, for one of them is that the refs are moved.
func (p *push) settle() error {
	p.mu.Lock()
	updates := p.accepted
	p.mu.Unlock()
	if len(updates) == 0 {
		return nil // nothing was granted yet
	}
	done := map[string]bool{}
	for _, u := range updates {
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
