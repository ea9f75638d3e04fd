package talos

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// MetaValue is a value of the META store.
type MetaValue struct {
	Key   uint8
	Value string
}

// MetaEnv is the variable that carries META values in the kernel command line (in talos.environment).
const MetaEnv = "INSTALLER_META_BASE64"

// MetaRoom is the number of bytes that all entries of a META partition may take: 8 and the value's for each.
const MetaRoom = 262104

// MetaDualBoot is the key of the value "dual-boot", by which the first boot of such a disk drops the loader that wasn't used.
const MetaDualBoot = 17

// metaKeys are the names of well-known keys. Source: pkg/machinery/meta/constants.go.
var metaKeys = []struct {
	name string
	key  uint8
}{
	{"upgrade", 6},
	{"staged_upgrade_image", 7},
	{"staged_upgrade_options", 8},
	{"state_encryption", 9},
	{"network", 10},
	{"url_code", 11},
	{"user1", 12},
	{"user2", 13},
	{"user3", 14},
	{"uuid", 15},
	{"machine_token", 16},
	{"disk_bootloader", MetaDualBoot},
}

// MetaKey returns the key that a name ("network") stands for, or a [*UnknownError].
func MetaKey(name string) (uint8, error) {
	for _, k := range metaKeys {
		if k.name == name {
			return k.key, nil
		}
	}
	return 0, unknown("META key", name, MetaKeyNames())
}

// MetaKeyNames are the names of well-known keys.
func MetaKeyNames() []string {
	names := make([]string, len(metaKeys))
	for i, k := range metaKeys {
		names[i] = k.name
	}
	return names
}

// MetaName is the name of a well-known key; empty for others.
func MetaName(key uint8) string {
	for _, k := range metaKeys {
		if k.key == key {
			return k.name
		}
	}
	return ""
}

// CheckMeta says what of META values an output can't carry: key 0 (it ends the list on a disk), a key given twice, a ";" in what goes
// into the kernel command line, more than the partition holds, and any value where the output has no place for one.
func CheckMeta(k Kind, values []MetaValue) error {
	if len(values) == 0 {
		return nil
	}
	if k == KindInstaller || k == KindKernel || k == KindInitramfs {
		return fmt.Errorf("META values: output %s can't carry any; iso, disk, uki, cmdline and pxe can", k)
	}
	return checkMeta(values, k != KindDisk)
}

func checkMeta(values []MetaValue, cmdline bool) error {
	var errs []error
	seen := map[uint8]bool{}
	room := 0
	for _, v := range values {
		if v.Key == 0 {
			errs = append(errs, errors.New("META key 0: it marks the end of the list; keys are 1 to 255"))
		}
		if seen[v.Key] {
			errs = append(errs, fmt.Errorf("META key %d: given twice", v.Key))
		}
		seen[v.Key] = true
		if cmdline && strings.Contains(v.Value, ";") {
			errs = append(errs, fmt.Errorf("META key %d: its value has a \";\", which ends a value in the kernel command line; only a disk can carry it", v.Key))
		}
		room += 8 + len(v.Value)
	}
	if room > MetaRoom {
		errs = append(errs, fmt.Errorf("META values: they take %d bytes, there is room for %d", room, MetaRoom))
	}
	return errors.Join(errs...)
}

// EncodeMeta encodes META values for the kernel command line, in the order given. Source: pkg/machinery/meta/meta.go.
// Upstream compresses with Go's compress/gzip, whose output changes with Go's releases; this one's changes with a module's version.
func EncodeMeta(values []MetaValue, allowGzip bool) (string, error) {
	if err := checkMeta(values, true); err != nil {
		return "", err
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = fmt.Sprintf("%#x=%s", v.Key, v.Value)
	}
	raw := []byte(strings.Join(parts, ";"))
	if allowGzip && len(raw) > 256 {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err == nil {
			_, err = w.Write(raw)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return "", fmt.Errorf("compress META values: %w", err)
		}
		raw = b.Bytes()
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}
