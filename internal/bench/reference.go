package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
)

// The programs of the pipeline below: those for the initramfs, and all.
var (
	initramfsTools = []string{"mksquashfs", "cpio", "zstd"}
	referenceTools = append([]string{"mkfs.vfat", "mcopy", "xorriso", "sgdisk", "mkfs.xfs", "tar"}, initramfsTools...)
)

// mksquashfsOptions are the official imager's, silenced.
const mksquashfsOptions = "-comp zstd -Xcompression-level 18 -b 128K -all-root -no-xattrs -noappend -no-progress -quiet"

// stage is a step of the official imager, as a shell script in a folder of its own. $IN is the folder of the inputs.
type stage struct{ name, script string }

// What the official imager runs for each output, in this order: siderolabs/talos pkg/imager/imager.go.
var (
	initramfsStages = []stage{
		{"mksquashfs", `cp -r "$IN/stage" stage
for e in "$IN"/ext/*; do mksquashfs "$e" "stage/${e##*/}.sqsh" ` + mksquashfsOptions + ` >&2; done`},
		{"cpio, zstd -18", `archive() { cd "$1" && find . -mindepth 1 -printf '%P\n' | sort | cpio --quiet -o -H newc --reproducible -R +0:+0; }
(archive "$IN/early") > early
(archive stage) | zstd -q -T0 -18 > segment
cat early "$IN/base" segment > initramfs`},
	}
	ukiStage  = stage{"cat (UKI)", `cat "$IN/stub" initramfs "$IN/vmlinuz" > uki`}
	treeStage = `mkdir -p tree/EFI/BOOT tree/EFI/Linux tree/loader tree/boot
cp "$IN/sdboot" tree/EFI/BOOT/BOOTX64.EFI && ln uki tree/EFI/Linux/Talos.efi && echo timeout 10 > tree/loader/loader.conf
`
	isoStages = []stage{
		{"mkfs.vfat, mcopy", treeStage + `truncate -s $(( ($(stat -c %s uki) >> 20) + 12 ))M esp
mkfs.vfat -F 32 -n EFI --invariant esp >&2
mcopy -s -p -Q -m -i esp tree/EFI tree/loader ::/`},
		{"xorriso", `ln initramfs tree/boot/initramfs.xz && cp "$IN/vmlinuz" tree/boot/
xorriso -as mkisofs -quiet -iso-level 3 -V TALOS -e --interval:appended_partition_2:all:: -append_partition 2 0xef esp -appended_part_as_gpt \
  -partition_cyl_align all -partition_offset 16 -iso_mbr_part_type 0x83 -no-emul-boot -o out tree`},
	}
	// The partitions are made where they belong, or beside: how they are copied to the disk is not counted.
	diskStages = []stage{
		{"sgdisk", `truncate -s 4247M out
sgdisk -n 1:0:+2101M -t 1:ef00 -n 2:0:+1M -t 2:ef02 -n 3:0:+2000M -n 4:0:+1M out >&2`},
		{"mkfs.vfat, mcopy", treeStage + `mkfs.vfat -F 32 -n EFI --invariant --offset 2048 out $((2101 << 10)) >&2
mcopy -s -p -Q -m -i out@@1M tree/EFI tree/loader ::/`},
		{"mkfs.xfs", `touch grub.cfg
printf '%s\n' /none '0 0' 'd--755 0 0' 'A d--755 0 0' "vmlinuz ---644 0 0 $IN/vmlinuz" "initramfs.xz ---644 0 0 $PWD/initramfs" '$' \
  'grub d--700 0 0' "grub.cfg ---600 0 0 $PWD/grub.cfg" '$' '$' > prototype
mkfs.xfs -q -L BOOT -p prototype -d file,name=boot,size=2000m >&2`},
	}
	compressStages  = []stage{{"zstd -18 (disk)", `zstd -q -T0 -18 --rm out`}}
	installerStages = []stage{
		{"tar, gzip", `mkdir -p usr/install/amd64 && ln uki usr/install/amd64/vmlinuz.efi && cp "$IN/sdboot" usr/install/amd64/systemd-boot.efi
tar --sort=name -c usr/install/amd64/* | gzip -1 > layer && cp "$IN/installer" base
tar -cf out base layer`},
	}
)

// referenceOutput is what an output has behind the initramfs and the UKI.
type referenceOutput struct {
	name   string
	stages []stage
}

// A disk as the official imager makes it unasked, and one that is not compressed.
var (
	referenceDisk    = referenceOutput{"raw.zst", slices.Concat(diskStages, compressStages)}
	referenceRawDisk = referenceOutput{"raw, 8 GiB", diskStages}
)

// reference is what the programs cost.
type reference struct {
	all     cost // of every output in turn
	once    cost // of the programs, each once: those of an ISO
	stages  []stageCost
	segment float64 // size of the archive with the layers and firmware, compressed, in bytes
}

// stageCost is what a stage cost in all outputs.
type stageCost struct {
	name string
	cost
	times int
}

// runReference makes every output with the programs, from the start each time.
func (b *bench) runReference(ctx context.Context, in *inputs, disk referenceOutput) (*reference, error) {
	r := &reference{}
	for _, out := range []referenceOutput{{"iso", isoStages}, {"disk", disk.stages}, {"installer", installerStages}} {
		if err := b.reference(ctx, r, in, out.name, out.stages); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// reference makes an initramfs with the programs, and goes on with what makes an output of it.
func (b *bench) reference(ctx context.Context, r *reference, in *inputs, output string, stages []stage) error {
	b.log("the programs make: %s", output)
	dir := b.path("reference-" + output)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, s := range slices.Concat(initramfsStages, []stage{ukiStage}, stages) {
		p := process{dir: dir, env: []string{"IN=" + in.dir}, args: []string{"/bin/sh", "-euc", s.script}}
		o, err := p.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r.count(s.name, o.cost)
		if output == "iso" && s.name != ukiStage.name {
			r.once = r.once.plus(o.cost)
		}
	}
	var err error
	r.segment, err = fileSize(dir + "/segment")
	return errors.Join(err, os.RemoveAll(dir))
}

func (r *reference) count(name string, c cost) {
	r.all = r.all.plus(c)
	for i := range r.stages {
		if s := &r.stages[i]; s.name == name {
			s.cost, s.times = s.plus(c), s.times+1
			return
		}
	}
	r.stages = append(r.stages, stageCost{name, c, 1})
}
