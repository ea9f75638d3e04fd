package bench

import (
	"context"
	"fmt"
	"path/filepath"
)

// formats compares disks in the formats of hypervisors and clouds with what converts a raw disk that is there.
func (b *bench) formats(ctx context.Context) (table, error) {
	if err := b.makeWarm(ctx); err != nil {
		return table{}, err
	}
	raw, err := b.disk(ctx, "raw", "none")
	if err != nil {
		return table{}, err
	}
	t := table{title: "formats: the disk composed, converted and hashed; the reference converts a raw disk that was written before"}
	for _, f := range []struct {
		format, compression string
		reference           [][]string
	}{
		{"qcow2", "none", [][]string{{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=8k", raw.file, b.path("ref.qcow2")}}},
		{"vmdk", "none", [][]string{{"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw.file, b.path("ref.vmdk")}}},
		{"ova", "none", [][]string{
			{"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw.file, b.path("ref.vmdk")},
			{"sha256sum", b.path("ref.vmdk")},
			{"tar", "-C", b.dir, "-cf", b.path("ref.ova"), "ref.vmdk"},
		}},
		{"raw", "zst", [][]string{{"zstd", "-q", "-T0", "-18", "-f", raw.file, "-o", b.path("ref.raw.zst")}}},
		{"qcow2", "zst", [][]string{
			{"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=8k", raw.file, b.path("ref.qcow2")},
			{"zstd", "-q", "-T0", "-18", "-f", b.path("ref.qcow2"), "-o", b.path("ref.qcow2.zst")},
		}},
	} {
		ours, err := b.disk(ctx, f.format, f.compression)
		if err != nil {
			return t, err
		}
		var reference cost
		for _, args := range f.reference {
			o, err := process{args: append([]string{look(args[0])}, args[1:]...)}.run(ctx)
			if err != nil {
				return t, err
			}
			reference = reference.plus(o.cost)
		}
		of, err := fileSize(f.reference[len(f.reference)-1][len(f.reference[len(f.reference)-1])-1])
		if f.format == "ova" && err != nil {
			of, err = fileSize(b.path("ref.ova"))
		}
		if err != nil {
			return t, err
		}
		name := f.format
		if f.compression != "none" {
			name += "." + f.compression
		}
		t.add(name+": wall time", seconds, ours.wall, reference.wall, ratioAtMost(1.0/3))
		t.add(name+": CPU time", seconds, ours.cpu, reference.cpu, none)
		t.add(name+": peak memory", size, float64(ours.peak), float64(reference.peak), atMost(150<<20))
		t.add(name+": size", size, ours.size, of, none)
	}
	t.note("The raw disk alone, written and hashed: %s, CPU %s, %s.", seconds(raw.wall), seconds(raw.cpu), size(raw.size))
	return t, nil
}

// made is a disk that was built.
type made struct {
	cost
	file string
	size float64
}

// disk builds the disk of the bench's profile in another format, alone.
func (b *bench) disk(ctx context.Context, format, compression string) (m made, err error) {
	profile, err := b.variant("format-"+format+"-"+compression, defaultDisk,
		fmt.Sprintf("output \"disk\" {\n    size        = \"8GiB\"\n    format      = %q\n    compression = %q\n  }", format, compression))
	if err != nil {
		return m, err
	}
	out := b.path("out-" + format + "-" + compression)
	o, err := b.make(ctx, build{target: "disk", profile: profile, out: out})
	if err != nil {
		return m, err
	}
	names, err := filepath.Glob(filepath.Join(out, "*."+format+"*"))
	if err != nil || len(names) != 1 {
		return m, fmt.Errorf("want one disk in %s, have %d", out, len(names))
	}
	m = made{cost: o.cost, file: names[0]}
	m.size, err = fileSize(m.file)
	return m, err
}
