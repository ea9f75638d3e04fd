package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// bigFiles of bigFile bytes each make the extension of 2 GiB: a quarter noise, the rest text that repeats itself.
const (
	bigFiles = 16
	bigFile  = 128 << 20
)

// memory measures a build with a big extension.
func (b *bench) memory(ctx context.Context) (table, error) {
	t := table{title: fmt.Sprintf("memory: with an extension of %s", size(bigFiles*bigFile))}
	if err := b.writeBig(b.path("big")); err != nil {
		return t, err
	}
	file, err := b.variant("memory", "    extension.motd,", "    extension.motd,\n    extension.big,",
		`extension "motd" {`, fmt.Sprintf("extension \"big\" {\n  path = %q\n}\n\nextension \"motd\" {", b.path("big")))
	if err != nil {
		return t, err
	}
	o, err := b.make(ctx, build{profile: file, out: b.path("memory", "out")})
	if err != nil {
		return t, err
	}
	t.add("ISO, disk and installer: peak memory", size, float64(o.peak), 0, atMost(500<<20))
	t.add("ISO, disk and installer: disk space beside the store and the output", size, float64(o.elsewhere), 0, atMost(0))
	t.add("ISO, disk and installer: wall time", seconds, o.wall, 0, none)
	t.add("ISO, disk and installer: CPU time", seconds, o.cpu, 0, none)
	return t, remove(b.path("memory"), b.path("big"))
}

// writeBig writes an extension of a size.
func (b *bench) writeBig(dir string) error {
	data := filepath.Join(dir, "rootfs", "usr", "local", "share", "big")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return err
	}
	if err := writeManifest(dir, "big"); err != nil {
		return err
	}
	for n := range bigFiles {
		if err := writeNoise(filepath.Join(data, fmt.Sprintf("data-%d", n)), uint64(n)); err != nil {
			return err
		}
	}
	return nil
}

// writeManifest makes a folder that of an extension.
func writeManifest(dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	manifest := "version: v1alpha1\nmetadata:\n  name: " + name + "\n  version: 1.0.0\n  author: talosmith\n  description: |\n    Much.\n" +
		"  compatibility:\n    talos:\n      version: \">= v1.5.0\"\n"
	return os.WriteFile(filepath.Join(dir, "manifest.yaml"), []byte(manifest), 0o644)
}

// writeNoise writes a file whose every fourth part is random and whose others are words in a random order.
func writeNoise(name string, seed uint64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	random := rand.New(rand.NewPCG(seed, 0))
	var noise [4 << 10]byte
	for written := 0; written < bigFile; written += 4 * len(noise) {
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		text := bytes.Repeat([]byte(fmt.Sprintf("%08d some words of %d\n", random.IntN(1000), seed)), 3*len(noise)/16)
		w.Write(noise[:]) // the error stays until Flush
		w.Write(text[:3*len(noise)])
	}
	return errors.Join(w.Flush(), f.Close())
}
