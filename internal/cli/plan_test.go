package cli

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
)

const planned = `talos {
  version = "v1.13.9"
}

image "metal" {
  extensions  = ["siderolabs/gvisor", "siderolabs/iscsi-tools"]
  kernel_args = ["console=ttyS1"]
  output "iso" {}
  output "disk" {}
  output "installer" {}
  output "kernel" {}
}
`

// plan runs one with a profile and returns what it prints.
func plan(t *testing.T, o Options, p PlanOptions) (string, error) {
	t.Helper()
	stdout := new(bytes.Buffer)
	o.Stdout = stdout
	s, err := Open(o)
	if err != nil {
		t.Fatal(err, o.Stderr)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = s.Plan(t.Context(), p)
	return stdout.String(), err
}

func mustPlan(t *testing.T, o Options, p PlanOptions) string {
	t.Helper()
	text, err := plan(t, o, p)
	if err != nil {
		t.Fatal(err, o.Stderr)
	}
	return text
}

func TestPlan(t *testing.T) {
	t.Parallel()
	r := serveRelease(t)
	r.publish("v1.13.9", "gvisor:20260101.0 [core] x", "iscsi-tools:v0.1.6 [contrib] y")
	o, _, stderr := at(t, map[string]string{"extensions.hcl": planned})
	o.Mirrors = []source.Mirror{r.mirror()}

	text := mustPlan(t, o, PlanOptions{})
	lines := strings.Join(regexp.MustCompile(`(?m)[ ]{2,}`).Split(text, -1), "|")
	for _, want := range []string{
		"metal|amd64|Talos v1.13.9 for metal\n", "|console=ttyS1|" + o.Profile + ":7\n", "|(console=tty0)|platform, removed by " + o.Profile + ":7\n",
		"|The outputs that have them: iso, disk, installer.\n|kernel: no kernel command line.\n",
		"|0|siderolabs/gvisor|20260101.0|core|", "|1|siderolabs/iscsi-tools|v0.1.6|contrib|",
		"|disk|metal-amd64.raw.zst|4.1 GiB|dual-boot|EFI 2.1 GiB, BIOS 1.0 MiB, BOOT 2.0 GiB, META 1.0 MiB|-\n",
		"|EFI|2.0 GiB|?|?|two UKIs\n", "|ghcr.io/siderolabs/imager:v1.13.9|112 B|112 B|sha256:",
		"|unpack|siderolabs/gvisor|to do|205 B\n", "|squashfs|siderolabs/iscsi-tools|to do\n", "\n0 steps stored, 12 to do; 644 B to download\n",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("missing %q in\n%s\n%s", want, lines, text)
		}
	}

	var d imager.Description
	if err := json.Unmarshal([]byte(mustPlan(t, o, PlanOptions{JSON: true})), &d); err != nil || d.Work.ToDo != 12 || *d.Work.Download != 644 {
		t.Errorf("%v, %+v", err, d)
	}
	var b strings.Builder
	if err := planText(&d, true).writeTo(&b); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if !strings.Contains(got, "\x1b[33mto do\x1b[0m") || !strings.Contains(got, "\x1b[31m(console=tty0)\x1b[0m") {
		t.Errorf("colours are missing: %q", got)
	}
	if regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(got, "") != text {
		t.Error("colours change the text")
	}

	if _, err := plan(t, o, PlanOptions{JSON: true, Markdown: true}); err == nil || !strings.Contains(err.Error(), "not both") {
		t.Errorf("error %v", err)
	}
	comment := mustPlan(t, o, PlanOptions{Markdown: true})
	for _, want := range []string{
		"### Plan: Talos v1.13.9, 1 image\n\n| image | architecture |", "| metal | amd64 | metal | 2 | iso, disk, installer, kernel |\n",
		"<summary>metal amd64: 2 extensions</summary>\n\n| ID |", "| 1 | siderolabs/iscsi-tools | v0.1.6 | contrib |", "| (console=tty0) | platform, removed by ",
	} {
		if !strings.Contains(comment, want) {
			t.Errorf("missing %q in\n%s", want, comment)
		}
	}
	if strings.Contains(comment, "to do") {
		t.Errorf("a comment has what is to do on this machine:\n%s", comment)
	}
	if strings.Contains(stderr.String(), "note:") {
		t.Errorf("printed %s", stderr)
	}

	// Without the network, what was looked up by tag is not known any more; an image without extensions plans all the same.
	r.server.Close()
	o, _, stderr = at(t, map[string]string{"extensions.hcl": strings.Replace(planned, `"siderolabs/gvisor", "siderolabs/iscsi-tools"`, "", 1)})
	o.Mirrors = []source.Mirror{r.mirror()}
	text = mustPlan(t, o, PlanOptions{})
	if !strings.Contains(text, "\n0 steps stored, 0 to do, 2 not known; ? to download\n") || strings.Count(stderr.String(), "note: not all of the plan is known: ") != 2 {
		t.Errorf("printed\n%s%s", text, stderr)
	}
}

// TestPlanOfLongSectors: a disk with other sectors than usual ones says so.
func TestPlanOfLongSectors(t *testing.T) {
	t.Parallel()
	for size, want := range map[int64]string{512: "META 1.0 MiB", 4096: "META 1.0 MiB, in sectors of 4096 bytes"} {
		o := imager.OutputDescription{SectorSize: &size, Partitions: []imager.PartitionDescription{{Label: "META", Size: new(int64(1 << 20))}}}
		if got := partitions(o); got != want {
			t.Errorf("%d: %q", size, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	p := &page{}
	p.row(texts(plain, "a\x1b[31mb\n", "c\u2028")...)
	var b strings.Builder
	if err := p.writeTo(&b); err != nil || b.String() != "  a\uFFFD[31mb\uFFFD  c\uFFFD\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func pageText(t *testing.T, p *page) string {
	t.Helper()
	var b strings.Builder
	if err := p.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestPlanOfOverlays: that a build runs what others have made is in bold.
func TestPlanOfOverlays(t *testing.T) {
	t.Parallel()
	d := &imager.Description{Talos: "v1.13.9", Images: []imager.ImageDescription{{
		Name: "rpi", Architecture: "arm64", Platform: "metal",
		Overlay: &imager.OverlayDescription{
			Name: "rpi_generic", Image: "ghcr.io/siderolabs/sbc-raspberrypi@sha256:" + strings.Repeat("a", 64), Digest: "sha256:" + strings.Repeat("a", 64),
			From: "overlays v1.13.9", Program: "installers/rpi_generic", Run: true,
		},
		Outputs: []imager.OutputDescription{{Kind: "disk", File: "rpi-arm64.raw.zst"}},
	}}}
	const runs = "A build runs installers/rpi_generic of this image on the machine that builds: a program made by others."
	text := pageText(t, planText(d, true))
	for _, want := range []string{
		"\x1b[1m  " + runs + "\x1b[0m\n", "\x1b[1m  Its kernel arguments are known when it has run.\x1b[0m\n",
		"  rpi_generic  ghcr.io/siderolabs/sbc-raspberrypi  sha256:aaaaaaaaaaaa  overlays v1.13.9\n", "  disk    rpi-arm64.raw.zst  ?     ?            -",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if plain := pageText(t, planText(d, false)); strings.Contains(plain, "\x1b") || !strings.Contains(plain, "\n  "+runs+"\n") {
		t.Errorf("without colours:\n%s", plain)
	}
	if md := planMarkdown(d).render(maxComment); !strings.Contains(md, "\n**rpi arm64, overlay rpi&#95;generic of ") || !strings.Contains(md, "a program made by others.**\n") {
		t.Errorf("Markdown:\n%s", md)
	}
	d.Images[0].Overlay.Run = false
	if text := pageText(t, planText(d, true)); !strings.Contains(text, "\x1b[1m  A build would have to run installers/rpi_generic of this image on the machine that builds, a program made by others: run = true lets it.\x1b[0m\n") {
		t.Errorf("not allowed:\n%s", text)
	}
}

// TestNoneOr: what is not known and what is not there look different.
func TestNoneOr(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]*int64{"?": nil, "-": new(int64(0)), "1.0 KiB": new(int64(1024))} {
		if got := noneOr(n, amount); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
