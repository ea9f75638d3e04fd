package vmdisk

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// The members of an OVA.
const (
	ovfName      = "disk.ovf"
	manifestName = "disk.mf"
	vmdkName     = "disk.vmdk"
)

// newOVA makes the VMDK twice: its size and checksum come before it, and are not known before.
func newOVA(raw image, diskSize int64, o Options) image {
	return func(w io.WriterAt) (int64, error) {
		first := newDigester()
		if err := writeVMDK(first, raw, diskSize, o.ID); err != nil {
			return 0, err
		}
		disk := first.result()
		if disk.size > maxTarOctal {
			return 0, fmt.Errorf("%s: %d bytes are more than the %d of a member of a USTAR archive", vmdkName, disk.size, int64(maxTarOctal))
		}
		ovf := ovfDescriptor(diskSize, disk.size)
		manifest := fmt.Sprintf("SHA256(%s)= %x\nSHA256(%s)= %x\n", vmdkName, disk.sum, ovfName, sha256.Sum256([]byte(ovf)))
		return appendTo(w, func(w io.Writer) error {
			t := tar.NewWriter(w)
			if err := addMember(t, ovfName, ovf, o.Time); err != nil {
				return err
			}
			if err := addMember(t, manifestName, manifest, o.Time); err != nil {
				return err
			}
			if err := t.WriteHeader(memberHeader(vmdkName, disk.size, o.Time)); err != nil {
				return err
			}
			again := newDigester()
			err := writeVMDK(io.MultiWriter(again, t), raw, diskSize, o.ID)
			if err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
				return err
			}
			if again.result() != disk {
				return fmt.Errorf("%s: %w", vmdkName, errChanged)
			}
			return t.Close()
		})
	}
}

// digest tells contents apart.
type digest struct {
	size int64
	sum  [sha256.Size]byte
}

// digester takes the digest of what is written to it.
type digester struct {
	hash.Hash
	size int64
}

func newDigester() *digester { return &digester{Hash: sha256.New()} }

func (d *digester) Write(p []byte) (int, error) {
	d.size += int64(len(p))
	return d.Hash.Write(p)
}

func (d *digester) result() digest { return digest{d.size, [sha256.Size]byte(d.Sum(nil))} }

func memberHeader(name string, size int64, modified time.Time) *tar.Header {
	return &tar.Header{Name: name, Size: size, Mode: tarMode, ModTime: modified.Truncate(time.Second), Format: tar.FormatUSTAR}
}

func addMember(t *tar.Writer, name, content string, modified time.Time) error {
	if err := t.WriteHeader(memberHeader(name, int64(len(content)), modified)); err != nil {
		return err
	}
	_, err := io.WriteString(t, content)
	return err
}
