package imager_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/initramfs"
	"github.com/talosmith/talosmith/pkg/squashfs"
	"github.com/talosmith/talosmith/pkg/talos"
)

// text has words in a random order, the same for the same seed.
func text(seed uint64, words int) string {
	var b strings.Builder
	random := rand.New(rand.NewPCG(seed, 0))
	for range words {
		fmt.Fprintf(&b, "%x ", random.ExpFloat64()*1000)
	}
	return b.String()
}

// TestEffort: an effort changes how layers and firmware are compressed, and two images with the same extensions still share them.
func TestEffort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.extension("big:1.0.0", map[string]string{"usr/local/share/big": text(1, 100_000), "usr/lib/firmware/big": text(2, 50_000)})
	w.release("v1.13.9")
	r := w.run()
	type sizes struct{ layer, firmware, block int }
	got := map[string]sizes{}
	for _, effort := range []string{"", "fast", "balanced", "small"} {
		profile := "talos {\n  version = \"v1.13.9\"\n"
		if effort != "" {
			profile += fmt.Sprintf("  effort  = %q\n", effort)
		}
		profile += "}\n"
		for _, image := range []string{"a", "b"} {
			profile += fmt.Sprintf("image %q {\n  extensions = [\"siderolabs/big\"]\n  output \"initramfs\" {}\n}\n", image)
		}
		clear(r.ran)
		r.build(profile, imager.Request{Kinds: []talos.Kind{talos.KindInitramfs}})
		want := map[string]int{"squashfs": 1, "firmware": 1}
		if effort == "balanced" { // the default, that is
			want = map[string]int{}
		}
		ran := maps.Clone(r.ran)
		maps.DeleteFunc(ran, func(step string, _ int) bool { return step != "squashfs" && step != "firmware" })
		if !maps.Equal(ran, want) {
			t.Errorf("effort %q: steps %v ran, want %v", effort, ran, want)
		}
		var s sizes
		b := r.read("a-amd64-initramfs.xz")
		segments, err := initramfs.Segments(bytes.NewReader(b), int64(len(b)))
		w.check(err)
		s.firmware = int(segments[len(segments)-1].Size)
		for _, segment := range segments {
			w.check(initramfs.Walk(segment, func(m initramfs.Member) error {
				if m.Path != "0.sqsh" {
					return nil
				}
				layer, err := io.ReadAll(m.Content)
				w.check(err)
				image, err := squashfs.NewReader(bytes.NewReader(layer))
				w.check(err)
				s.layer, s.block = len(layer), image.BlockSize()
				return nil
			}))
		}
		got[effort] = s
	}
	fast, balanced, small := got["fast"], got["balanced"], got["small"]
	if got[""] != balanced {
		t.Errorf("the default is %+v, balanced %+v", got[""], balanced)
	}
	if !slices.IsSorted([]int{small.layer, balanced.layer, fast.layer}) || fast.layer == balanced.layer || balanced.layer == small.layer {
		t.Errorf("layers of %d, %d and %d bytes: the more effort, the smaller", fast.layer, balanced.layer, small.layer)
	}
	if balanced.firmware >= fast.firmware {
		t.Errorf("firmware of %d and %d bytes: the more effort, the smaller", fast.firmware, balanced.firmware)
	}
	if fast.block != 512<<10 || balanced.block != 512<<10 || small.block != 1<<20 {
		t.Errorf("blocks of %d, %d and %d bytes", fast.block, balanced.block, small.block)
	}
}
