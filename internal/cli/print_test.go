package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/store"
)

// script plays a build to a printer whose clock it moves.
func script(p *printer, pause func(time.Duration)) {
	squashfs := &store.Step{Name: "squashfs", Label: "siderolabs/gvisor"}
	p.step(store.Event{State: store.Stored, Key: "a", Step: &store.Step{Name: "check", Label: "x"}})
	p.step(store.Event{State: store.Stored, Key: "a", Step: &store.Step{Name: "check", Label: "x"}}) // of another image
	p.download(source.Event{Image: "ghcr.io/siderolabs/gvisor", Digest: "sha256:1", Done: 0, Total: 4 << 20})
	pause(500 * time.Millisecond)
	p.download(source.Event{Image: "ghcr.io/siderolabs/gvisor", Digest: "sha256:1", Done: 1 << 20, Total: 4 << 20})
	p.step(store.Event{State: store.Running, Key: "b", Step: squashfs})
	pause(time.Second)
	p.step(store.Event{State: store.Running, Key: "b", Step: squashfs, Bytes: 3 << 20, Total: 30 << 20})
	p.note("something to know")
	p.note("something to know") // of another image
	p.download(source.Event{Image: "ghcr.io/siderolabs/gvisor", Digest: "sha256:1", Done: 4 << 20, Total: 4 << 20})
	pause(time.Second)
	p.step(store.Event{State: store.Done, Key: "b", Step: squashfs, Bytes: 9 << 20})
	p.step(store.Event{State: store.Stored, Key: "b", Step: squashfs})
	p.step(store.Event{State: store.Fetching, Key: "c", Step: &store.Step{Name: "squashfs", Label: "y@sha256:" + strings.Repeat("0a", 32)}, Total: 2048})
	pause(100 * time.Millisecond)
	p.step(store.Event{State: store.Fetched, Key: "c", Step: &store.Step{Name: "squashfs", Label: "y"}, Bytes: 2048, Total: 2048})
	p.step(store.Event{State: store.Running, Key: "d", Step: &store.Step{Name: "index"}})
	p.step(store.Event{State: store.Failed, Key: "d", Step: &store.Step{Name: "index"}})
	p.writing(imager.Writing{File: "metal-amd64.iso", Total: 100 << 20})
	p.writing(imager.Writing{File: "metal-amd64.raw", Done: 1})
	p.writing(imager.Writing{File: "metal-amd64.raw", Failed: true})
	pause(time.Second)
	p.writing(imager.Writing{File: "metal-amd64.iso", Done: 60 << 20, Total: 100 << 20})
	pause(time.Second)
	p.artefact(imager.Artefact{File: "metal-amd64.iso", Size: 100 << 20, SHA256: "abc"}, true)
	p.artefact(imager.Artefact{File: "metal-amd64-vmlinuz", Size: 10 << 20, SHA256: "def"}, false)
	p.end()
	p.end() // at Close
}

func testPrinter(out *strings.Builder) (*printer, func(time.Duration)) {
	p := newPrinter(Options{Stdout: out, Stderr: out, Out: "out", Env: func(string) (string, bool) { return "", false }})
	at := time.Unix(0, 0)
	p.now, p.began = func() time.Time { return at }, at
	return p, func(d time.Duration) { at = at.Add(d) }
}

func TestPlainLines(t *testing.T) {
	var out strings.Builder
	script(testPrinter(&out))
	const want = `note: something to know
download     ghcr.io/siderolabs/gvisor: 4.0 MiB in 1.5 s
squashfs     siderolabs/gvisor: 9.0 MiB in 2.0 s
squashfs     y: fetched 2.0 KiB in 0.1 s
write        metal-amd64.iso: 100.0 MiB in 2.0 s
out/metal-amd64.iso  100.0 MiB  sha256:abc  written
out/metal-amd64-vmlinuz  10.0 MiB  sha256:def  unchanged
1 step done, 1 stored already, 1 fetched, 4.0 MiB downloaded in 4.6 s
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

// TestLiveLines looks at the frames, drawn after each pause in the script.
func TestLiveLines(t *testing.T) {
	var out, frames strings.Builder
	p, pause := testPrinter(&out)
	script(p, func(d time.Duration) {
		pause(d)
		fmt.Fprintln(&frames, strings.Join(p.frame(p.now(), 100), "\n"))
	})
	const want = `download  siderolabs/gvisor      [..........] 0% of 4.0 MiB, 0 s
0 steps done, 1 stored already, 0 s
download  siderolabs/gvisor      [##........] 25% of 4.0 MiB, 682.7 KiB/s, 2 s
squashfs  siderolabs/gvisor      1 s
0 steps done, 1 stored already, 2 s
squashfs  siderolabs/gvisor      [#.........] 10% of 30.0 MiB, 1.5 MiB/s, 2 s
0 steps done, 1 stored already, 4.0 MiB downloaded, 2 s
squashfs  y                      [..........] 0% of 2.0 KiB, 0 s
1 step done, 1 stored already, 4.0 MiB downloaded, 3 s
write     metal-amd64.iso        [..........] 0% of 100.0 MiB, 1 s
1 step done, 1 stored already, 1 fetched, 4.0 MiB downloaded, 4 s
write     metal-amd64.iso        [######....] 60% of 100.0 MiB, 30.0 MiB/s, 2 s
1 step done, 1 stored already, 1 fetched, 4.0 MiB downloaded, 5 s
`
	if frames.String() != want {
		t.Errorf("got\n%s", frames.String())
	}
}

// TestWaitingLines: a step that another process makes is shown while that takes, and counts as stored then.
func TestWaitingLines(t *testing.T) {
	var out strings.Builder
	p, pause := testPrinter(&out)
	st := &store.Step{Name: "squashfs", Label: "hello"}
	p.step(store.Event{State: store.Waiting, Key: "a", Step: st})
	pause(2 * time.Second)
	if got := strings.Join(p.frame(p.now(), 100), "\n"); got != "waiting   squashfs hello         2 s\n0 steps done, 2 s" {
		t.Errorf("got %q", got)
	}
	p.step(store.Event{State: store.Stored, Key: "a", Step: st})
	if got := strings.Join(p.frame(p.now(), 100), "\n"); got != "0 steps done, 1 stored already, 2 s" || out.Len() > 0 {
		t.Errorf("got %q, %q", got, &out)
	}
}

func TestFramesFitTheTerminal(t *testing.T) {
	var out strings.Builder
	p, pause := testPrinter(&out)
	for i := range 20 {
		p.progress(fmt.Sprint(i), "squashfs", fmt.Sprintf("registry.example.com/a/very/long/repository/name-%d\x1b[31m", i), 1<<40, 2<<40)
	}
	pause(time.Hour)
	for _, width := range []int{0, 1, 20, 80, 500} {
		lines := p.frame(p.now(), width)
		if len(lines) > maxLines {
			t.Errorf("%d lines", len(lines))
		}
		for _, l := range lines {
			if len(l) > max(width-1, 0) || strings.Contains(l, "\x1b") {
				t.Errorf("%d columns: %q", width, l)
			}
		}
	}
}

// TestTheScreenIsLeftClean plays frames and other lines to a screen.
func TestTheScreenIsLeftClean(t *testing.T) {
	var out strings.Builder
	l := &live{w: &out, width: func() int { return 80 }}
	l.draw([]string{"a", "b", "c"})
	l.draw([]string{"d"})
	l.clear()
	out.WriteString("said\n")
	l.draw([]string{"e", "f"})
	l.draw([]string{"g", "h"})
	if got := screen(out.String()); got != "said\ng\nh" {
		t.Errorf("screen %q", got)
	}
	l.clear()
	l.clear()
	if got := screen(out.String()); got != "said" {
		t.Errorf("screen %q", got)
	}
}

// screen is what a terminal shows after the sequences that live uses.
func screen(s string) string {
	lines, row, column := []string{""}, 0, 0
	for s != "" {
		var n int
		switch {
		case strings.HasPrefix(s, eraseLine):
			lines[row], s = lines[row][:column], s[len(eraseLine):]
		case strings.HasPrefix(s, erase):
			lines, s = append(lines[:row], lines[row][:column]), s[len(erase):]
		case strings.HasPrefix(s, "\x1b"):
			if _, err := fmt.Sscanf(s, "\x1b[%dA", &n); err != nil || n > row {
				return "unexpected sequence"
			}
			row -= n
			_, s, _ = strings.Cut(s, "A")
		case s[0] == '\r':
			column, s = 0, s[1:]
		case s[0] == '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
			column, s = 0, s[1:]
		default:
			line := []byte(lines[row])
			line = append(line[:column], append([]byte{s[0]}, line[min(column+1, len(line)):]...)...)
			lines[row], column, s = string(line), column+1, s[1:]
		}
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}
