package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

// printer tells what a build does: a line for each step that runs on standard error, a line for each artefact on standard output.
type printer struct {
	mu       sync.Mutex
	out, err io.Writer
	dir      string
	terminal bool
	width    int
	color    bool
	started  map[store.Key]time.Time
	stored   map[store.Key]bool
}

func newPrinter(o Options) *printer {
	p := &printer{out: o.Stdout, err: o.Stderr, dir: o.Out, started: map[store.Key]time.Time{}, stored: map[store.Key]bool{}}
	p.width, p.terminal = terminalWidth(o.Stderr)
	_, plain := o.Env("NO_COLOR")
	p.color = p.terminal && !plain
	return p
}

func (p *printer) step(e store.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ran := p.started[e.Key]
	switch e.State {
	case store.Stored:
		if !ran {
			p.stored[e.Key] = true
		}
	case store.Running:
		if !ran {
			p.started[e.Key] = time.Now()
		}
	case store.Done:
		fmt.Fprintf(p.err, "%-12s %s: %s in %.1f s\n", e.Step.Name, e.Step.Label, bytes(e.Bytes), time.Since(p.started[e.Key]).Seconds())
	}
}

func (p *printer) download(e source.Event) {
	if e.Done < e.Total {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, "%-12s %s: %s\n", "downloaded", e.Image, bytes(e.Total))
}

func (p *printer) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.err, "note: %s\n", text)
}

func (p *printer) artefact(a imager.Artefact, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := "written"
	if !fresh {
		state = "unchanged"
	}
	fmt.Fprintf(p.out, "%s  %s  sha256:%s  %s\n", filepath.Join(p.dir, a.File), bytes(a.Size), a.SHA256, state)
}

func (p *printer) pushed(i imager.Pushed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref := i.Tag + "@" + i.Digest
	fmt.Fprintf(p.out, "%s\n  machine configuration:  machine.install.image: %s\n  running machine:        talosctl upgrade --image %s\n", i.Tag, ref, ref)
}

func (p *printer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stored) > 0 {
		fmt.Fprintf(p.err, "%d steps were stored already\n", len(p.stored))
	}
}

// bytes is a number of bytes for people.
func bytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 4 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[prefix])
}
