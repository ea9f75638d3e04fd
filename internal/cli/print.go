package cli

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/inspect"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

// printer tells what a build does. A line for each artefact goes to standard output. To standard error goes, on a terminal, what is
// going on at the moment; elsewhere a line for each step and download when it is done.
type printer struct {
	mu       sync.Mutex
	out, err io.Writer
	dir      string
	color    bool
	now      func() time.Time
	live     *live         // nil where standard error is no terminal
	stop     chan struct{} // ends the goroutine that keeps the terminal up to date; nil: there is none

	began   time.Time
	noted   map[string]bool           // what was said need not be said of each image
	running map[string]*work          // by the step's key, the download's digest or the artefact's name
	ended   map[store.Key]store.State // Done, Fetched or Stored
	loaded  int64                     // bytes
}

// work is a step, a download or an artefact that is under way.
type work struct {
	what, subject string
	began         time.Time
	done, total   int64 // bytes; no total where it is not known
}

func newPrinter(o Options) *printer {
	p := &printer{
		out: o.Stdout, err: o.Stderr, dir: o.Out, now: time.Now, began: time.Now(),
		running: map[string]*work{}, ended: map[store.Key]store.State{}, noted: map[string]bool{},
	}
	p.color = o.colors(o.Stderr)
	_, isTerminal := terminalWidth(o.Stderr)
	if kind, _ := o.Env("TERM"); isTerminal && kind != "dumb" {
		p.live = &live{w: o.Stderr, width: func() int { width, _ := terminalWidth(o.Stderr); return cmp.Or(width, 80) }}
	}
	return p
}

// colors tells whether what is written there may have colours.
func (o Options) colors(w io.Writer) bool {
	_, isTerminal := terminalWidth(w)
	plain, _ := o.Env("NO_COLOR") // https://no-color.org: not where it is empty
	kind, _ := o.Env("TERM")
	return isTerminal && plain == "" && kind != "dumb"
}

// Write writes to standard error what others have to say.
func (p *printer) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live.clear()
	return p.err.Write(b)
}

// printf writes whole lines.
func (p *printer) printf(w io.Writer, format string, args ...any) {
	p.live.clear()
	fmt.Fprintf(w, format, args...)
}

func (p *printer) step(e store.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := string(e.Key)
	switch e.State {
	case store.Waiting:
		p.progress(id, "waiting", e.Step.String(), 0, 0)
	case store.Stored:
		delete(p.running, id) // another process has made it
		if _, counted := p.ended[e.Key]; !counted {
			p.ended[e.Key] = store.Stored
		}
	case store.Fetching:
		p.progress(id, e.Step.Name, e.Step.Label, e.Bytes, e.Total)
	case store.Running:
		p.progress(id, e.Step.Name, e.Step.Label, e.Bytes, e.Total)
	case store.Fetched:
		p.ended[e.Key] = e.State
		p.loaded += e.Bytes
		p.finish(id, "fetched ", e.Bytes)
	case store.Done:
		p.ended[e.Key] = e.State
		p.finish(id, "", e.Bytes)
	case store.Failed:
		delete(p.running, id)
	}
}

func (p *printer) download(e source.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress(e.Digest, "download", e.Image, e.Done, e.Total)
	if e.Done >= e.Total {
		p.loaded += e.Total
		p.finish(e.Digest, "", e.Total)
	}
}

func (p *printer) progress(id, what, subject string, done, total int64) {
	w := p.running[id]
	if w == nil || w.what != what {
		w = &work{what: what, subject: digests.ReplaceAllString(subject, ""), began: p.now()}
		p.running[id] = w
	}
	w.done, w.total = done, total
	if p.live != nil && p.stop == nil {
		p.stop = make(chan struct{})
		go p.keepDrawing(p.stop)
	}
}

// keepDrawing shows how time goes by, and what came since the last frame.
func (p *printer) keepDrawing(stop chan struct{}) {
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		p.mu.Lock()
		if p.stop == stop {
			p.live.draw(p.frame(p.now(), p.live.width()))
		}
		p.mu.Unlock()
	}
}

func (p *printer) finish(id, how string, size int64) {
	w := p.running[id]
	delete(p.running, id)
	if w != nil && p.live == nil {
		p.printf(p.err, "%-12s %s: %s%s in %.1f s\n", w.what, w.subject, how, amount(size), p.now().Sub(w.began).Seconds())
	}
}

func (p *printer) note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noted[text] {
		return
	}
	p.noted[text] = true
	p.printf(p.err, "note: %s\n", text)
}

// writing shows an artefact on its way, like a step.
func (p *printer) writing(w imager.Writing) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.Failed {
		delete(p.running, artefactID(w.File))
		return
	}
	p.progress(artefactID(w.File), "write", w.File, w.Done, w.Total)
}

// artefactID is what running has an artefact by; no key and no digest is like that.
func artefactID(file string) string { return "out/" + file }

func (p *printer) artefact(a imager.Artefact, fresh bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(artefactID(a.File), "", a.Size)
	state := "written"
	if !fresh {
		state = "unchanged"
	}
	p.printf(p.out, "%s  %s  sha256:%s  %s\n", filepath.Join(p.dir, a.File), amount(a.Size), a.SHA256, state)
}

func (p *printer) pushed(i imager.Pushed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ref := i.Tag + "@" + i.Digest
	p.printf(p.out, "%s\n  machine configuration:  machine.install.image: %s\n  running machine:        talosctl upgrade --image %s\n", i.Tag, ref, ref)
}

func (p *printer) copied(c source.Copied) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := "copied"
	if c.There {
		state = "there already"
	}
	image, _, _ := strings.Cut(c.Name, "@")
	p.printf(p.out, "%s@%s  %s\n", image, c.Digest, state)
}

// end says what all was done, and leaves the terminal as it was.
func (p *printer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
	p.running = map[string]*work{}
	p.live.clear()
	if steps := p.counts(); steps != "" {
		p.printf(p.err, "%s in %.1f s\n", steps, p.now().Sub(p.began).Seconds())
	}
	p.ended, p.loaded = map[store.Key]store.State{}, 0
}

// counts says how many steps there were, if any.
func (p *printer) counts() string {
	if len(p.ended) == 0 {
		return ""
	}
	n := map[store.State]int{}
	for _, state := range p.ended {
		n[state]++
	}
	text := fmt.Sprintf("%s done, %d stored already", count(n[store.Done], "step"), n[store.Stored])
	if n[store.Fetched] > 0 {
		text += fmt.Sprintf(", %d fetched", n[store.Fetched])
	}
	if p.loaded > 0 {
		text += fmt.Sprintf(", %s downloaded", amount(p.loaded))
	}
	return text
}

// amount is a number of bytes for people, as inspections have it.
func amount(n int64) string { return inspect.Bytes(n) }
