package kmod

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/talosmith/talosmith/pkg/tree"
)

// read parses the bytes of a module file.
func read(t testing.TB, b []byte) (Module, error) {
	t.Helper()
	r := newReader()
	defer r.close()
	return r.read(tree.Bytes(b))
}

func TestScan(t *testing.T) {
	t.Parallel()
	modules, err := Scan(testTree(t, completeCase(t).files), 0)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Module{}
	for _, m := range modules {
		byName[m.Path] = m
	}
	want := Module{
		Path: "kernel/net/beta-x.ko.xz", Name: "beta_x", Arch: "amd64",
		Aliases: []string{"pci:v00008086d*sv*sd*bc*sc*i*", "net-pf-10-proto-[0-9a-f]", "net-pf-10-proto-[0-9a-f]", "open[bracket", "closed]bracket"},
		Exports: []Symbol{{Name: "beta_one", CRC: 2, HasCRC: true}, {Name: "shared", CRC: 8, HasCRC: true}},
		Imports: []Symbol{
			{Name: "alpha_one", CRC: 0x11111111, HasCRC: true}, {Name: "printk", CRC: 3, HasCRC: true},
			{Name: "missing", Weak: true}, {Name: "module_layout", CRC: 4, HasCRC: true},
		},
	}
	if diff := cmp.Diff(want, byName[want.Path]); diff != "" {
		t.Error(diff)
	}
	want = Module{
		Path: "extras/alpha.ko.zst", Name: "alpha", Arch: "amd64", Aliases: []string{"fs-alpha"},
		Softdeps: []string{"pre: beta-x post: gamma", "pre: nothing"}, Weakdeps: []string{"gamma", "delta epsilon"},
		Exports: []Symbol{
			{Name: "alpha_one", CRC: 0x11111111, HasCRC: true}, {Name: "alpha_two", CRC: 0xffffffff, HasCRC: true},
			{Name: "shared", CRC: 7, HasCRC: true},
		},
	}
	if diff := cmp.Diff(want, byName[want.Path]); diff != "" {
		t.Error(diff)
	}
	if m := byName["kernel/fs/alpha.ko"]; m.Vermagic != "6.1 SMP" || m.Depends != nil {
		t.Errorf("vermagic %q, depends %q", m.Vermagic, m.Depends)
	}
	if m := byName["kernel/drivers/gamma.ko"]; !cmp.Equal(m.Firmware, []string{"gamma/one.bin"}) {
		t.Errorf("firmware %q", m.Firmware)
	}
	if _, ok := byName["kernel/drivers/build/not.ko"]; ok {
		t.Error("a module in a directory named build was scanned")
	}
}

func TestScanFormats(t *testing.T) {
	t.Parallel()
	m := testModule{
		modinfo: []string{"vermagic=6.18.0-talos SMP preempt mod_unload aarch64", "depends=a,b"}, machine: elf.EM_AARCH64, imports: names("printk"),
	}
	want := Module{
		Name: "m", Arch: "arm64", Vermagic: "6.18.0-talos SMP preempt mod_unload aarch64",
		Depends: []string{"a", "b"}, Imports: names("printk"),
	}
	for _, want.Path = range []string{"m.ko", "m.ko.xz", "m.ko.zst", "m.ko.gz"} {
		content := m.pack(t, want.Path)
		dir := testTree(t, map[string][]byte{want.Path: content, "a/" + want.Path: content}) // the second with a decoder used before
		got, err := Scan(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			got[i].Path = strings.TrimPrefix(got[i].Path, "a/")
		}
		if diff := cmp.Diff([]Module{want, want}, got); diff != "" {
			t.Errorf("%s: %s", want.Path, diff)
		}
	}
}

// What is stored of a scan is all that Index needs, and does not depend on the number of workers.
func TestScanStored(t *testing.T) {
	t.Parallel()
	c := completeCase(t)
	c.files["kernel/signed.ko"] = sign(t, testModule{}.build(), "issuer.der")
	dir := testTree(t, c.files)
	var first []byte
	for workers := range 9 {
		modules, err := Scan(dir, workers)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(modules)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if string(first) != string(b) {
			t.Errorf("%d workers: another result than that of GOMAXPROCS", workers)
		}
		var back []Module
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(modules, back); diff != "" {
			t.Error(diff)
		}
	}
}

func TestScanLinks(t *testing.T) {
	t.Parallel()
	link := func(path, target string) tree.Node {
		return tree.Node{Path: path, Mode: fs.ModeSymlink | 0o777, Link: target}
	}
	module := tree.Node{Path: "kernel/real.ko", Mode: 0o644, Content: tree.Bytes(testModule{}.build())}
	for _, c := range []struct {
		nodes []tree.Node
		want  string // paths, or the error
	}{
		{[]tree.Node{link("extras/x.ko", "more/y.ko"), link("extras/more/y.ko", "../../kernel/real.ko")}, "extras/more/y.ko extras/x.ko kernel/real.ko"},
		{[]tree.Node{link("build", "/usr/src"), link("source", "/usr/src"), link("kernel/dir", "../kernel")}, "kernel/real.ko"},
		{[]tree.Node{link("x.ko", "kernel/none.ko")}, "scan module x.ko: it is neither a regular file nor a link to one in the release directory"},
		{[]tree.Node{link("x.ko", "../real.ko")}, "scan module x.ko: it is neither"},
		{[]tree.Node{link("x.ko", "/kernel/real.ko")}, "scan module x.ko: it is neither"},
		{[]tree.Node{link("x.ko", "y.ko"), link("y.ko", "x.ko")}, "scan module x.ko: it is neither"},
		{[]tree.Node{{Path: "x.ko", Mode: fs.ModeNamedPipe}}, "scan module x.ko: it is neither"},
		{[]tree.Node{{Path: "a b/x.ko", Mode: 0o644, Content: tree.Bytes(nil)}}, `scan module "a b/x.ko": modules.dep cannot hold`},
		{[]tree.Node{{Path: "ü.ko", Mode: 0o644, Content: tree.Bytes(nil)}}, `scan module "ü.ko": modules.dep cannot hold`},
		{[]tree.Node{{Path: "x.y.ko", Mode: 0o644, Content: tree.Bytes(nil)}}, "scan module x.y.ko: a module's name cannot have a dot"},
		{[]tree.Node{{Path: ".ko", Mode: 0o644, Content: tree.Bytes(nil)}, {Path: "x.ko.bz2", Mode: 0o644, Content: tree.Bytes(nil)}}, "kernel/real.ko"},
	} {
		dir, err := tree.New(append(c.nodes, module))
		if err != nil {
			t.Fatal(err)
		}
		modules, err := Scan(dir, 0)
		var paths []string
		for _, m := range modules {
			paths = append(paths, m.Path)
		}
		got := strings.Join(paths, " ")
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want)) {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
}

// sign appends a signature of testdata.
func sign(t testing.TB, image []byte, file string) []byte {
	t.Helper()
	der, err := os.ReadFile(filepath.Join("testdata/signature", file))
	if err != nil {
		t.Fatal(err)
	}
	return appendSignature(image, der, len(der))
}

func appendSignature(image, der []byte, size int) []byte {
	image = append(image[:len(image):len(image)], der...)
	image = append(image, 0, 0, 2, 0, 0, 0, 0, 0, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
	return append(image, signatureMagic...)
}

func TestSignature(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Signature{
		"issuer.der": {Signer: "Test modules key", KeyID: "01:AB:CD:EF", Hash: "sha512"},
		"keyid.der":  {KeyID: "60:DC:CB:0A:7A:63:C1:83:63:3C:47:EA:FD:E8:14:15:F9:3E:41:D5", Hash: "sha256"},
	} {
		m, err := read(t, sign(t, testModule{}.build(), file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&want, m.Signature); diff != "" {
			t.Error(diff)
		}
	}
	image := testModule{}.build()
	signed := sign(t, image, "keyid.der")
	message := signed[:len(signed)-12-len(signatureMagic)]
	wrongType := slices.Clone(signed)
	wrongType[len(wrongType)-len(signatureMagic)-10] = 1
	for name, c := range map[string]struct {
		image []byte
		want  string
	}{
		"too short": {[]byte("12345" + signatureMagic), "the file ends 7 bytes before"},
		"too long":  {appendSignature(image, nil, len(image)+1), "bytes are more than the file's"},
		"not PKCS7": {wrongType, "only PKCS#7 is supported"},
		"no ASN.1":  {appendSignature(image, []byte("0123"), 4), "PKCS#7 message: asn1:"},
		"trailing":  {appendSignature(message, []byte{0}, len(message)-len(image)+1), "1 bytes follow it"},
	} {
		_, err := signature(c.image)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// What cannot be a kernel module of a machine that runs Talos is refused by name, all of it at once.
func TestScanRefuses(t *testing.T) {
	t.Parallel()
	good := testModule{imports: names("a"), exports: names("b")}
	raw := func(section string, data []byte) []byte {
		m := good
		m.raw = map[string][]byte{section: data}
		return m.build()
	}
	patch := func(at int, value byte) []byte {
		b := good.build()
		b[at] = value
		return b
	}
	section := func(i int) int { return len(good.build()) - (8-i)*sectionHeader } // where its header is
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":       {nil, "parse elf header: the file is no ELF object"},
		"text":        {[]byte("no module"), "parse elf header: the file is no ELF object"},
		"short":       {good.build()[:63], "parse elf header: the file ends after 63 bytes"},
		"truncated":   {good.build()[:200], "parse elf header: section headers: 512 bytes at "},
		"sections":    {patch(60, 0), "parse elf header: 0 section headers of 64 bytes: 1 to 65279 of 64 bytes are supported"},
		"header size": {patch(58, 40), "parse elf header: 8 section headers of 40 bytes"},
		"names":       {patch(62, 8), "parse elf header: section names: section 8 is not among the 8"},
		"no names":    {patch(62, 0), "parse elf header: section names: section 0: type SHT_NULL"},
		"no bytes":    {patch(section(5)+4, byte(elf.SHT_NOBITS)), "parse .symtab: section 5: type SHT_NOBITS, flags 0x0: it has no content"},
		"compressed":  {patch(section(1)+9, byte(elf.SHF_COMPRESSED>>8)), "parse .modinfo: section 1: type SHT_PROGBITS, flags SHF_COMPRESSED"},
		"beyond":      {patch(section(1)+39, 0x80), "parse .modinfo: section 1: 9223372036854775808 bytes at 64 are beyond the file's end"},
		"stripped":    {patch(section(5), 0), "parse .symtab: the module is stripped"},
		"32 bits": {
			[]byte("\x7fELF\x01\x01\x01" + zeros(9) + "\x01\x00\x03\x00\x01" + zeros(43)),
			"parse elf header: class ELFCLASS32, data ELFDATA2LSB: only 64-bit little endian modules are supported",
		},
		"big endian": {
			[]byte("\x7fELF\x02\x02\x01" + zeros(9) + "\x00\x01\x00\x15\x00\x00\x00\x01" + zeros(40)),
			"parse elf header: class ELFCLASS64, data ELFDATA2MSB",
		},
		"executable":   {patch(16, byte(elf.ET_EXEC)), "parse elf header: type ET_EXEC: a kernel module is relocatable"},
		"riscv":        {patch(18, byte(elf.EM_RISCV)), "parse elf header: machine EM_RISCV: only x86-64 and AArch64 are supported"},
		"cut xz":       {compressXZ(t, good.build())[:100], "unpack: "},
		"cut zstd":     {compressZstd(t, good.build())[:100], "unpack: "},
		"cut gzip":     {compressGzip(t, good.build())[:100], "unpack: "},
		"xz header":    {[]byte("\xfd7zXZ\x00....................."), "unpack: "},
		"gzip header":  {[]byte("\x1f\x8b......................."), "unpack: "},
		"zstd header":  {[]byte("\x28\xb5\x2f\xfd...................."), "unpack: "},
		"symbol size":  {raw(".symtab", make([]byte, 25)), "parse .symtab: it has 25 bytes, which is no multiple of 24"},
		"symbol name":  {raw(".strtab", []byte{0}), "parse .symtab: symbol 1: its name at 2 is beyond .strtab's 1 bytes"},
		"version size": {raw("__versions", make([]byte, 63)), "parse imports: __versions has 63 bytes"},
		"version name": {raw("__versions", make([]byte, 64)), "parse imports: __versions entry 0: a name is empty"},
		"version crc": {
			raw("__versions", []byte("\x00\x00\x00\x00\x01\x00\x00\x00x"+zeros(55))),
			"parse imports: __versions entry 0 (x): the CRC 0x100000000 has more than 32 bits",
		},
		"export no end":  {raw("__ksymtab_strings", []byte("abc")), "parse exports: __ksymtab_strings: a name is empty, has no end"},
		"export bytes":   {raw("__ksymtab_strings", []byte("\xff\x00")), `parse exports: __ksymtab_strings: name "\xff" has byte 0xff`},
		"alias bytes":    {testModule{modinfo: []string{"alias=a\nb"}}.build(), `parse .modinfo: alias "a\nb" (3 bytes)`},
		"crc of nothing": {testModule{exports: []Symbol{{HasCRC: true}}}.build(), `parse exports: symbol "__crc_": it names no export`},
		"crc place": {
			testModule{exports: []Symbol{{Name: "x", HasCRC: true}}, inTable: true, raw: map[string][]byte{"__kcrctab": {1, 2, 3}}}.build(),
			`parse exports: symbol "__crc_x": the CRC at 0 is beyond the section's 3 bytes`,
		},
	} {
		modules, err := Scan(testTree(t, map[string][]byte{"good.ko": good.build(), "one.ko": c.content, "two.ko": c.content}), 2)
		if len(modules) != 1 || modules[0].Path != "good.ko" {
			t.Errorf("%s: modules %+v beside the bad ones", name, modules)
		}
		var bad *ModuleError
		if !errors.As(err, &bad) || bad.Path != "one.ko" {
			t.Errorf("%s: the error names %+v", name, bad)
		}
		for _, want := range []string{"scan module one.ko: " + c.want, "\nscan module two.ko: " + c.want} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", name, err, want)
			}
		}
	}
}

// Each limit holds, and one more is refused.
func TestScanLimits(t *testing.T) {
	t.Parallel()
	alias := func(n int) []byte {
		return testModule{modinfo: []string{"alias=" + strings.Repeat("x", n)}}.build()
	}
	symbol := func(n int) []byte { return testModule{imports: names(strings.Repeat("x", n))}.build() }
	export := func(n int) []byte { return testModule{exports: names(strings.Repeat("x", n))}.build() }
	imports := func(n int) []byte { return testModule{imports: make([]Symbol, 1), raw: manySymbols(n)}.build() }
	versions := func(n int) []byte {
		return testModule{raw: map[string][]byte{"__versions": []byte(strings.Repeat(zeros(8)+"x"+zeros(55), n))}}.build()
	}
	version := func(n int) []byte {
		return testModule{versions: names(strings.Repeat("x", n))}.build()
	}
	modinfo := func(n int) []byte { return testModule{raw: map[string][]byte{".modinfo": make([]byte, n)}}.build() }
	exports := func(n int) []byte {
		return testModule{raw: map[string][]byte{"__ksymtab_strings": []byte(strings.Repeat("x\x00", n))}}.build()
	}
	for name, c := range map[string]struct {
		build func(n int) []byte
		limit int
		want  string
	}{
		"alias":    {alias, maxKey, "at most 4095 bytes of printable ASCII"},
		"symbol":   {symbol, maxName, "more than 512 bytes"},
		"export":   {export, maxName, "more than 512 bytes"},
		"imports":  {imports, maxSymbols, "more than 65536 imports and exports"},
		"exports":  {exports, maxSymbols, "more than 65536 names"},
		"version":  {version, 55, "more than 55 bytes"},
		"versions": {versions, maxSymbols, "up to 65536 entries"},
		"modinfo":  {modinfo, maxModinfo, "the limit is 4194304"},
	} {
		if _, err := read(t, c.build(c.limit)); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if _, err := read(t, c.build(c.limit+1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s over the limit: error %v, want %q", name, err, c.want)
		}
	}
}

// manySymbols are n undefined symbols of one name.
func manySymbols(n int) map[string][]byte {
	entry := string(append([]byte{1, 0, 0, 0, byte(elf.STB_GLOBAL) << 4}, make([]byte, elf.Sym64Size-5)...))
	return map[string][]byte{".strtab": []byte("\x00x\x00"), ".symtab": []byte(strings.Repeat(entry, n+1))}
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

func TestUnpackLimit(t *testing.T) {
	t.Parallel()
	image := testModule{}.build()
	for _, name := range []string{"m.ko", "m.ko.xz", "m.ko.zst", "m.ko.gz"} {
		r := newReader()
		defer r.close()
		r.limit = int64(len(image))
		if _, err := r.read(tree.Bytes(testModule{}.pack(t, name))); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		r.limit--
		want := fmt.Sprintf("unpack: it has more than %d bytes, the limit for a module", r.limit)
		if _, err := r.read(tree.Bytes(testModule{}.pack(t, name))); err == nil || err.Error() != want {
			t.Errorf("%s over the limit: error %v, want %q", name, err, want)
		}
		if int64(r.image.Cap()) > 8*r.limit+4096 {
			t.Errorf("%s: %d bytes of memory for %d", name, r.image.Cap(), r.limit)
		}
	}
}

// A decoder that met a broken module reads the next one.
func TestReadAfterError(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"m.ko.xz", "m.ko.zst", "m.ko.gz"} {
		content := testModule{imports: names("a")}.pack(t, name)
		r := newReader()
		defer r.close()
		for _, broken := range [][]byte{content[:8], content[:len(content)-8], bytes.Repeat(content[:16], 8)} {
			if _, err := r.read(tree.Bytes(broken)); err == nil {
				t.Errorf("%s: a broken file was read", name)
			}
			if m, err := r.read(tree.Bytes(content)); err != nil || len(m.Imports) != 1 {
				t.Errorf("%s after a broken one: %v, %v", name, m, err)
			}
		}
	}
}

func TestListLimit(t *testing.T) {
	t.Parallel()
	nodes := make([]tree.Node, maxModules+1)
	for i := range nodes {
		nodes[i] = tree.Node{Path: fmt.Sprintf("m%d.ko", i), Mode: 0o644, Content: tree.Bytes(nil)}
	}
	for n, want := range map[int]string{maxModules: "", maxModules + 1: "there are 65535, and depmod's indexes hold at most 65534"} {
		dir, err := tree.New(nodes[:n])
		if err != nil {
			t.Fatal(err)
		}
		if _, err = files(dir); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d modules: error %v, want %q", n, err, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for name, content := range completeCase(f).files {
		if _, ok := moduleStem(filepath.Base(name)); ok && strings.HasPrefix(name, "kernel/") {
			f.Add(content)
		}
	}
	f.Add(sign(f, testModule{}.build(), "issuer.der"))
	f.Add(sign(f, testModule{}.build(), "keyid.der"))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := newReader()
		defer r.close()
		r.limit = 1 << 20
		m, err := r.read(tree.Bytes(content))
		if err != nil {
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var back Module
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, back); diff != "" {
			t.Error(diff)
		}
	})
}
