package kmod

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// A case is a release directory without indexes.
type testCase struct {
	files  map[string][]byte
	search []string
}

var talosSearch = []string{"extras", "built-in"}

// completeCase has everything that depmod reads, in its odd forms.
func completeCase(t testing.TB) testCase {
	crc := func(name string, crc uint32) Symbol { return Symbol{Name: name, CRC: crc, HasCRC: true} }
	ko := map[string]testModule{
		"kernel/fs/alpha.ko": {
			modinfo: []string{"license=GPL", "alias=fs-alpha", "alias=replaced", "depends=", "vermagic=6.1 SMP"},
			exports: []Symbol{crc("old_alpha", 1)},
		},
		"extras/alpha.ko.zst": { // goes before the one in kernel, though it lacks its place in modules.order
			modinfo: []string{
				"alias=fs-alpha", "softdep=pre: beta-x post: gamma", "softdep=pre: nothing", "weakdep=gamma", "weakdep=delta epsilon",
			},
			exports: []Symbol{crc("alpha_one", 0x11111111), crc("alpha_two", 0xffffffff), crc("shared", 7)},
			inTable: true,
		},
		"extras/deep/er/alone-here.ko.xz": {modinfo: []string{"alias=x-y[a-c]-z", "alias=*-?", "alias="}},
		"kernel/net/beta-x.ko.xz": { // of two modules that export "shared", the last counts
			modinfo: []string{
				"alias=pci:v00008086d*sv*sd*bc*sc*i*", "alias=net-pf-10-proto-[0-9a-f]", "alias=net-pf-10-proto-[0-9a-f]",
				"alias=open[bracket", "alias=closed]bracket",
			},
			exports:  []Symbol{crc("beta_one", 2), crc("shared", 8)},
			imports:  []Symbol{crc("alpha_one", 0x11111111), crc("printk", 3), {Name: "missing", Weak: true}},
			versions: []Symbol{crc("module_layout", 4)},
		},
		"kernel/drivers/gamma.ko": { // needs alpha by .alpha_two, and by its version table alone delta
			modinfo:  []string{"", "", "firmware=gamma/one.bin", "alias=char-major-10-235", "alias=devname:gamma/control", "alias=char-major-11-7"},
			exports:  names("gamma_one", "GAMMA_NS", "a"),
			imports:  []Symbol{crc(".alpha_two", 9), {Name: "beta_one", Weak: true}, {Name: "shared"}},
			versions: []Symbol{crc("delta_one", 5), crc("delta_one", 6)},
		},
		"kernel/drivers/delta.ko.zst": {
			modinfo: []string{"alias=devname:nonumbers", "alias=char-major-10-*"},
			exports: names("delta_one", "delta_two", "delta_three"),
		},
		"kernel/drivers/epsilon.ko": {
			modinfo: []string{"alias=block-major-007-010x", "alias=devname:eps0", "alias=devname:eps1"},
			imports: names("gamma_one", "delta_two"),
		},
		"kernel/drivers/build/not.ko":  {modinfo: []string{"alias=never"}},
		"kernel/zeta.ko":               {imports: names("alpha_one", "alpha_two", "gamma_one", "delta_three")},
		"eta.ko":                       {imports: names("zeta_has_none", "a")},
		"kernel/lib/abcdefghijklmn.ko": {modinfo: []string{"alias=e"}},
	}
	files := map[string][]byte{
		"modules.order": []byte("kernel/zeta.ko\nkernel/drivers/gamma.ko\nkernel/net/beta-x.ko\nkernel/gone.ko\n" +
			"kernel/drivers/gamma.ko\nkernel/fs/alpha.ko\nkernel/drivers/epsilon.ko\n"),
		"modules.builtin": []byte("kernel/fs/ext4/ext4.ko\nkernel/crypto/sha-256.ko\nkernel/lib/ext4.ko\nkernel/a.ko"),
		"modules.builtin.modinfo": []byte("ext4.alias=fs-ext4\x00ext4.license=GPL\x00ext4.file=fs/ext4/ext4\x00" +
			"sha_256.alias=crypto-sha256\x00sha_256.alias=bad]\x00sha_256.alias=sha-[0-9]-a=b.c\x00ext4.alias=crypto-sha256\x00ext4.alias=\x00"),
		"modules.builtin.ranges": []byte("kept as it is\n"),
	}
	for name, m := range ko {
		files[name] = m.pack(t, name)
	}
	return testCase{files: files, search: talosSearch}
}

// pack builds a module and compresses it as its name says.
func (m testModule) pack(t testing.TB, name string) []byte {
	switch b := m.build(); {
	case strings.HasSuffix(name, ".xz"):
		return compressXZ(t, b)
	case strings.HasSuffix(name, ".zst"):
		return compressZstd(t, b)
	case strings.HasSuffix(name, ".gz"):
		return compressGzip(t, b)
	default:
		return b
	}
}

// randomCase has modules that need others at random, without loops, many with names, aliases and symbols that share beginnings.
func randomCase(t testing.TB, seed uint64) testCase {
	r := rand.New(rand.NewPCG(seed, 0))
	word := func() string {
		b := make([]byte, 1+r.IntN(9))
		for i := range b {
			b[i] = "aab-_b0c.z[]*"[r.IntN(8)]
		}
		return string(b)
	}
	c := testCase{files: map[string][]byte{}, search: [][]string{nil, talosSearch, {"a", "built-in", "b/c"}}[r.IntN(3)]}
	var exported []string
	var order strings.Builder
	for i := range 20 + r.IntN(200) {
		var m testModule
		for range r.IntN(4) {
			m.modinfo = append(m.modinfo, "alias="+word()+"-"+word())
		}
		if r.IntN(5) == 0 {
			m.modinfo = append(m.modinfo, "softdep=pre: "+word(), "weakdep="+word())
		}
		if r.IntN(9) == 0 {
			m.modinfo = append(m.modinfo, fmt.Sprintf("alias=char-major-%d-%d", i, i), "alias=devname:"+word())
		}
		for range r.IntN(6) {
			if len(exported) > 0 && r.IntN(3) > 0 {
				m.imports = append(m.imports, Symbol{Name: exported[r.IntN(len(exported))], HasCRC: r.IntN(2) == 0})
			} else {
				m.imports = append(m.imports, Symbol{Name: "kernel_" + word()})
			}
		}
		crcs := r.IntN(2) == 0
		m.inTable = r.IntN(2) == 0
		for range r.IntN(4) {
			name := fmt.Sprintf("%s%d", word(), len(exported))
			m.exports = append(m.exports, Symbol{Name: name, HasCRC: crcs, CRC: r.Uint32()})
			exported = append(exported, name)
		}
		name := fmt.Sprintf("%s/%s%d.ko", []string{"a", "b", "b/c", "kernel/d-e"}[r.IntN(4)], strings.ReplaceAll(word(), ".", ""), i)
		if r.IntN(2) == 0 {
			order.WriteString(name + "\n")
		}
		name += []string{"", "", ".zst"}[r.IntN(3)]
		c.files[name] = m.pack(t, name)
		if stem, ok := strings.CutPrefix(name, "kernel/d-e/"); ok && c.search != nil && r.IntN(4) == 0 { // the same name in a preferred directory
			c.files[c.search[0]+"/"+stem] = testModule{modinfo: []string{"alias=the-other-" + word()}}.pack(t, name)
		}
	}
	if r.IntN(4) > 0 {
		c.files["modules.order"] = []byte(order.String())
	}
	return c
}
