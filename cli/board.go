package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"paas/api"
	"paas/cluster"
)

const (
	// boardRate is ten frames a second.
	boardRate = 100 * time.Millisecond
	// boardLines bounds the block that is painted over: a classic screen less the
	// line of the cursor and one of context.
	boardLines = 22
	// tailLines is how much output of the current step is seen.
	tailLines = 6
	// singleInstances is how many replicas are shown one by one.
	singleInstances = 12
)

// board shows news on a terminal: steps that ended scroll by, what goes on is
// painted in place.
type board struct {
	style style
	size  func() (width, height int)
	stop  chan struct{} // closed by close
	ended chan struct{} // closed when the painter is gone

	mu    sync.Mutex // guards everything below
	w     io.Writer
	step  string
	since time.Time
	tail  []string
	order []string // of instances, as they were first heard of
	seen  map[string]api.InstanceNews
	drawn int // lines of the block on the screen
	frame int
}

func newBoard(w io.Writer, s style, size func() (int, int)) *board {
	b := &board{style: s, size: size, stop: make(chan struct{}), ended: make(chan struct{}), w: w,
		since: time.Now(), seen: map[string]api.InstanceNews{}}
	go b.paint()
	return b
}

// paint repaints until close.
func (b *board) paint() {
	defer close(b.ended)
	t := time.NewTicker(boardRate)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.mu.Lock()
			b.frame++
			b.redraw(nil)
			b.mu.Unlock()
		case <-b.stop:
			return
		}
	}
}

func (b *board) show(p api.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch p.Kind {
	case api.ProgressStep:
		past := b.finished(good)
		b.step, b.since, b.tail = oneLine(p.Text), time.Now(), nil
		b.redraw(past)
	case api.ProgressWarning:
		b.redraw([]string{b.style.yellow("  ! " + oneLine(p.Text))})
	case api.ProgressInstance:
		if n := p.Instance; n != nil {
			key := n.Name + " " + n.Release.String()
			if _, known := b.seen[key]; !known {
				b.order = append(b.order, key)
			}
			b.seen[key] = *n
		}
	case api.ProgressLine:
		for line := range strings.SplitSeq(plainText(p.Text), "\n") {
			b.tail = append(b.tail, line)
		}
		b.tail = b.tail[max(0, len(b.tail)-tailLines):]
	}
}

func (b *board) close(how glyph) {
	close(b.stop)
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	past := b.finished(how)
	b.step, b.tail, b.order = "", nil, nil
	b.redraw(past)
}

// finished is the current step as it stays on the screen.
func (b *board) finished(how glyph) []string {
	if b.step == "" {
		return nil
	}
	took := short(time.Since(b.since))
	return []string{"  " + b.style.mark(how) + " " + b.step + "  " + b.style.dim(took)}
}

// redraw replaces the block on the screen; past scrolls by above it.
func (b *board) redraw(past []string) {
	width, height := b.size()
	block := b.block(height)
	var out strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.drawn)
	}
	out.WriteString("\r\x1b[J")
	for _, line := range append(past, block...) {
		out.WriteString(cut(b.style.text(line), width) + "\n")
	}
	b.drawn = len(block)
	_, _ = io.WriteString(b.w, out.String()) // the terminal is gone: so are we, soon
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// block is what goes on now.
func (b *board) block(height int) []string {
	if b.step == "" && len(b.order) == 0 {
		return nil
	}
	text := b.step
	if text == "" {
		text = "Working"
	}
	lines := []string{"  " + b.style.cyan(spinner[b.frame%len(spinner)]) + " " + text + "  " + b.style.dim(short(time.Since(b.since).Truncate(100*time.Millisecond)))}
	for _, l := range b.tail {
		lines = append(lines, b.style.dim("      "+l))
	}
	lines = append(lines, b.instances()...)
	return lines[:min(len(lines), boardLines, max(1, height-2))]
}

// instances shows replicas one by one, or counted by zone when there are many.
func (b *board) instances() []string {
	var shown []api.InstanceNews
	for _, key := range b.order {
		if n := b.seen[key]; n.State != cluster.AllocationStopped {
			shown = append(shown, n)
		}
	}
	slices.SortStableFunc(shown, func(x, y api.InstanceNews) int { return cluster.CompareNames(x.Name, y.Name) })
	if len(shown) > singleInstances {
		return b.zones(shown)
	}
	var lines []string
	for _, n := range shown {
		g, word := newsState(n)
		line := fmt.Sprintf("      %-10s %-5s %-10s %s", n.Name, n.Release, oneLine(n.Node), b.style.tint(string(g)+" "+word))
		if n.Reason != "" {
			line += "  " + b.style.dim(oneLine(n.Reason))
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *board) zones(shown []api.InstanceNews) []string {
	counts := map[string]map[string]int{}
	for _, n := range shown {
		_, word := newsState(n)
		if counts[n.Zone] == nil {
			counts[n.Zone] = map[string]int{}
		}
		counts[n.Zone][n.Release.String()+" "+word]++
	}
	var lines []string
	for _, zone := range sortedKeys(counts) {
		var parts []string
		for _, state := range sortedKeys(counts[zone]) {
			parts = append(parts, fmt.Sprintf("%d %s", counts[zone][state], state))
		}
		lines = append(lines, fmt.Sprintf("      zone %-10s %s", oneLine(zone), strings.Join(parts, " · ")))
	}
	return lines
}

// newsState is a replica's state in one word.
func newsState(n api.InstanceNews) (glyph, string) { return replicaState(n.Desired, n.State) }

// oneLine is text that an app or a server made up, on one line.
func oneLine(s string) string { return strings.ReplaceAll(plainText(s), "\n", " ") }

// cut shortens a painted line to width columns; escape sequences take none.
func cut(line string, width int) string {
	var b strings.Builder
	columns, escape := 0, false
	for len(line) > 0 {
		r, n := utf8.DecodeRuneInString(line)
		switch {
		case r == 0x1b:
			escape = true
		case escape:
			escape = r != 'm'
		default:
			columns++
			if columns >= width {
				return b.String() + "\x1b[0m"
			}
		}
		b.WriteString(line[:n])
		line = line[n:]
	}
	return b.String()
}
