//go:build unix

package squashfs

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/talosmith/talosmith/internal/formattest"
	"github.com/talosmith/talosmith/internal/tooltest"
	"github.com/talosmith/talosmith/pkg/tree"
)

// goTools is a directory of programs written in Go, and its tree.
func goTools(b *testing.B) (string, *tree.Tree) {
	out, err := exec.Command("go", "env", "GOTOOLDIR").Output()
	if err != nil {
		b.Fatal(err)
	}
	dir := strings.TrimSpace(string(out))
	names, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	var nodes []tree.Node
	for _, n := range names {
		content, err := tree.File(filepath.Join(dir, n.Name()))
		if err != nil {
			b.Fatal(err)
		}
		nodes = append(nodes, tree.Node{Path: n.Name(), Mode: 0o755, Content: content})
	}
	return dir, mustTree(b, nodes...)
}

// cpu is the processor time that the test has used, in seconds.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkMksquashfs is what BenchmarkWrite is to be compared with.
func BenchmarkMksquashfs(b *testing.B) {
	dir, _ := goTools(b)
	name := filepath.Join(b.TempDir(), "image")
	var seconds float64
	for b.Loop() {
		cmd := exec.Command(tooltest.Need(b, "mksquashfs"), dir, name, "-noappend", "-comp", "zstd", "-Xcompression-level", "18", "-b", "128K")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		seconds += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	st, err := os.Stat(name)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(seconds/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(st.Size())/1e6, "MB")
}

func BenchmarkWrite(b *testing.B) {
	_, tr := goTools(b)
	for _, bs := range []int{128 << 10, 256 << 10, 512 << 10, 1 << 20} {
		for level := 2; level <= 4; level++ {
			b.Run(fmt.Sprintf("block=%dK/level=%d", bs>>10, level), func(b *testing.B) {
				b.ReportAllocs()
				start := cpu(b)
				var n int64
				for b.Loop() {
					var err error
					if n, err = Write(formattest.Discard{}, tr, Options{BlockSize: bs, Level: level}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((cpu(b)-start)/float64(b.N), "cpu-s/op")
				b.ReportMetric(float64(n)/1e6, "MB")
			})
		}
	}
}

// BenchmarkWriteThrifty is to be compared with the best level of BenchmarkWrite.
func BenchmarkWriteThrifty(b *testing.B) {
	_, tr := goTools(b)
	b.ReportAllocs()
	start := cpu(b)
	var n int64
	for b.Loop() {
		var err error
		if n, err = Write(formattest.Discard{}, tr, Options{Thrifty: true}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-start)/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(n)/1e6, "MB")
}

func BenchmarkWriteSmallFiles(b *testing.B) {
	var nodes []tree.Node
	for i := range 5000 {
		nodes = append(nodes, regular(fmt.Sprintf("%d/%d", i/100, i), fmt.Append(nil, "content of file ", i)))
	}
	tr := mustTree(b, nodes...)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Write(formattest.Discard{}, tr, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	var nodes []tree.Node
	for i := range 5000 {
		nodes = append(nodes, regular(fmt.Sprintf("%d/%d", i/100, i), fmt.Append(nil, "content of file ", i)))
	}
	img := mustWrite(b, mustTree(b, nodes...), Options{})
	b.ReportAllocs()
	for b.Loop() {
		mustRead(b, img)
	}
}

// BenchmarkRandomRead reads 4 KiB at random places, each from a block that is not in the cache.
func BenchmarkRandomRead(b *testing.B) {
	_, tr := goTools(b)
	for _, bs := range []int{128 << 10, 512 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("block=%dK", bs>>10), func(b *testing.B) {
			n, _ := mustRead(b, mustWrite(b, tr, Options{BlockSize: bs, Level: 1})).Lookup("compile")
			r := n.Content.(io.ReaderAt)
			rnd := rand.New(rand.NewSource(1))
			p := make([]byte, 4096)
			for b.Loop() {
				if _, err := r.ReadAt(p, rnd.Int63n(n.Size()-4096)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSequentialRead(b *testing.B) {
	for _, c := range []Compression{ZSTD, XZ} {
		b.Run(string(c), func(b *testing.B) {
			want := bytes.Repeat(text(100_000), 100)
			n, _ := mustRead(b, mustWrite(b, mustTree(b, regular("f", want)), Options{Compression: c, BlockSize: 128 << 10})).Lookup("f")
			b.SetBytes(n.Size())
			for b.Loop() {
				if _, err := tree.ReadAll(n.Content); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
