package inspect

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/talosmith/talosmith/pkg/talos"
	"github.com/talosmith/talosmith/pkg/tree"
)

// finish makes the summary, of what boots by default: a UKI before what GRUB starts, as UEFI does.
func (a *Artefact) finish(ctx context.Context) error {
	r := &a.Report
	slices.SortStableFunc(a.boots, func(x, y boot) int { return rank(x) - rank(y) })
	for _, b := range a.boots {
		r.Talos = cmp.Or(r.Talos, b.talos)
		r.Kernel = cmp.Or(r.Kernel, b.release)
		r.Cmdline = cmp.Or(r.Cmdline, b.cmdline)
		r.Architecture = cmp.Or(r.Architecture, b.arch)
	}
	r.Platform = lastValue(r.Cmdline, "talos.platform")
	if r.Volume != nil && r.Talos == "" {
		if v, err := talos.ParseVersion(strings.TrimPrefix(r.Volume.SetID, talos.Name+"-")); err == nil {
			r.Talos = v.String()
		}
	}
	a.addCmdlineMeta()
	if len(a.boots) > 0 {
		if err := a.finishBoot(ctx, a.boots[0]); err != nil {
			return err
		}
	}
	if r.Kernel == "" && len(r.Modules) == 1 {
		r.Kernel = r.Modules[0].Release
	}
	for i, u := range r.UKIs {
		if i > 0 {
			a.note("there are %d UKIs; the summary is of %s, not of %s", len(r.UKIs), strings.Join(r.UKIs[0].Paths, ", "), strings.Join(u.Paths, ", "))
		}
	}
	return context.Cause(ctx)
}

// rank orders what boots: a whole UKI, then what GRUB starts, then parts.
func rank(b boot) int {
	switch {
	case b.initrd != nil && b.cmdline != "" && b.talos != "":
		return 0
	case b.initrd != nil && b.cmdline != "":
		return 1
	}
	return 2
}

// finishBoot adds the parts of what boots by default, and what its initramfs holds.
func (a *Artefact) finishBoot(ctx context.Context, b boot) error {
	if b.kernel != nil {
		a.addPart("vmlinuz", b.kernel)
		if b.kernelSum == "" {
			sum, err := a.digest(ctx, b.kernel)
			if err != nil {
				return err
			}
			b.kernelSum = sum
		}
		a.Report.KernelFile = &Content{Size: b.kernel.Size(), SHA256: b.kernelSum}
	}
	if b.cmdline != "" {
		a.addPart("cmdline", tree.String(b.cmdline))
	}
	if b.initrd == nil {
		return nil
	}
	a.addPart("initramfs.xz", b.initrd) // as upstream calls it, whatever it is compressed with
	for _, other := range a.boots[1:] {
		if other.initrdSum != "" && other.initrdSum != b.initrdSum {
			a.note("there are two initramfs, sha256 %s and %s; the summary is of the first", b.initrdSum, other.initrdSum)
			break
		}
	}
	return a.readInitramfs(ctx, b)
}

// lastValue is the value that the kernel takes where an argument is given several times.
func lastValue(cmdline, key string) string {
	value := ""
	for word := range strings.FieldsSeq(cmdline) {
		if k, v, _ := strings.Cut(word, "="); k == key {
			value = v
		}
	}
	return value
}

// addCmdlineMeta adds the META values of talos.environment=INSTALLER_META_BASE64=…: cmdline.md; siderolabs/talos pkg/machinery/meta.
func (a *Artefact) addCmdlineMeta() {
	for word := range strings.FieldsSeq(a.Report.Cmdline) {
		code, ok := strings.CutPrefix(word, "talos.environment="+talos.MetaEnv+"=")
		if !ok {
			continue
		}
		values, err := decodeMeta(code)
		if err != nil {
			a.problem("META values of the command line: %v", err)
		}
		a.Report.Meta = append(a.Report.Meta, values...)
	}
}

func decodeMeta(code string) ([]MetaValue, error) {
	raw, err := base64.StdEncoding.DecodeString(code)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(raw, []byte("\x1f\x8b")) {
		r, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		if raw, err = io.ReadAll(io.LimitReader(r, maxText+1)); err != nil {
			return nil, err
		}
		if len(raw) > maxText {
			return nil, fmt.Errorf("more than %d bytes", maxText)
		}
	}
	var values []MetaValue
	for pair := range strings.SplitSeq(string(raw), ";") {
		key, value, ok := strings.Cut(pair, "=")
		n, err := strconv.ParseUint(key, 0, 8)
		if !ok || err != nil {
			return values, fmt.Errorf("%q is not KEY=VALUE with a key up to 255", printable(pair))
		}
		values = append(values, MetaValue{uint8(n), value, "cmdline"})
	}
	return values, nil
}
