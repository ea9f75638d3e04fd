package kmod

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"strings"
)

// signatureMagic ends a signed module. Before it lies the description of 12 bytes: three bytes that are 0 in a PKCS#7 one but for the
// third, which says that it is one; five zero bytes; the size of the message before it, big endian.
const (
	signatureMagic = "~Module signature appended~\n"
	signaturePKCS7 = 2
)

// signature says who signed a module; nil where nobody did. A signature that cannot be read is an error, since the kernel refuses such
// a module whether it enforces signatures or not.
func signature(image []byte) (*Signature, error) {
	rest, signed := bytes.CutSuffix(image, []byte(signatureMagic))
	if !signed {
		return nil, nil
	}
	if len(rest) < 12 {
		return nil, fmt.Errorf("the file ends %d bytes before its description", 12-len(rest))
	}
	rest, info := rest[:len(rest)-12], rest[len(rest)-12:]
	if !bytes.Equal(info[:8], []byte{2: signaturePKCS7, 7: 0}) {
		return nil, fmt.Errorf("description %x: only PKCS#7 is supported", info)
	}
	size := binary.BigEndian.Uint32(info[8:])
	if uint64(size) > uint64(len(rest)) {
		return nil, fmt.Errorf("its %d bytes are more than the file's %d", size, len(rest))
	}
	return parsePKCS7(rest[len(rest)-int(size):])
}

// The parts of PKCS#7 (RFC 2315, RFC 5652) up to the first signer.
type (
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	signedData struct {
		Version      int
		Digests      asn1.RawValue
		Content      asn1.RawValue
		Certificates asn1.RawValue `asn1:"optional,tag:0"`
		CRLs         asn1.RawValue `asn1:"optional,tag:1"`
		Signers      []signerInfo  `asn1:"set"`
	}
	signerInfo struct {
		Version int
		ID      asn1.RawValue // issuerAndSerial, or the subject key identifier with tag 0
		Digest  pkix.AlgorithmIdentifier
	}
	issuerAndSerial struct {
		Issuer pkix.RDNSequence
		Serial *big.Int
	}
)

// hashes are the digest algorithms that kernels sign with, as modinfo calls them.
var hashes = map[string]string{
	"1.3.14.3.2.26":           "sha1",
	"2.16.840.1.101.3.4.2.1":  "sha256",
	"2.16.840.1.101.3.4.2.2":  "sha384",
	"2.16.840.1.101.3.4.2.3":  "sha512",
	"2.16.840.1.101.3.4.2.4":  "sha224",
	"2.16.840.1.101.3.4.2.8":  "sha3-256",
	"2.16.840.1.101.3.4.2.9":  "sha3-384",
	"2.16.840.1.101.3.4.2.10": "sha3-512",
}

func parsePKCS7(der []byte) (*Signature, error) {
	var info contentInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("PKCS#7 message: %w", err)
	} else if len(rest) > 0 {
		return nil, fmt.Errorf("PKCS#7 message: %d bytes follow it", len(rest))
	}
	if len(info.Content.Signers) == 0 {
		return nil, fmt.Errorf("PKCS#7 message: it has no signer")
	}
	signer := info.Content.Signers[0]
	oid := signer.Digest.Algorithm.String()
	s := &Signature{Hash: hashes[oid]}
	if s.Hash == "" {
		s.Hash = oid
	}
	if signer.ID.Class == asn1.ClassContextSpecific && signer.ID.Tag == 0 {
		s.KeyID = hexBytes(signer.ID.Bytes)
		return s, nil
	}
	var id issuerAndSerial
	if _, err := asn1.Unmarshal(signer.ID.FullBytes, &id); err != nil {
		return nil, fmt.Errorf("PKCS#7 signer: %w", err)
	}
	var issuer pkix.Name
	issuer.FillFromRDNSequence(&id.Issuer)
	s.Signer, s.KeyID = strings.ToValidUTF8(issuer.CommonName, "?"), hexBytes(id.Serial.Bytes())
	return s, nil
}

func hexBytes(b []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", b), " ", ":")
}
