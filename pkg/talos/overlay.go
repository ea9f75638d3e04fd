package talos

import (
	"slices"
	"strings"
)

// overlayImages are the official overlays by the image that has them, without its host: what schematics call it. No overlay ever moved.
// Source: github.com/siderolabs/overlays, internal/overlays/overlays.yaml at every tag from v1.7.0 to v1.14.0-alpha.2.
var overlayImages = map[string]string{
	"siderolabs/sbc-allwinner":   "bananapi_m64 libretech_all_h3_cc_h5 pine64",
	"siderolabs/sbc-jetson":      "jetson_nano",
	"siderolabs/sbc-raspberrypi": "revpi_generic rpi_5 rpi_generic",
	"siderolabs/sbc-rockchip": "friendlyelec-cm3588-nas helios64 nanopi-r4s nanopi-r5s odroid-m1 orangepi-5 orangepi-5-max orangepi-5-plus " +
		"orangepi-r1-plus-lts radxa-zero-3e rock3b rock4cplus rock4se rock5a rock5b rock5b-plus rock5t rock64 rockpi4 rockpi4c rockpro64 turingrk1",
}

// OverlayImage returns the image that has an official overlay, "siderolabs/sbc-raspberrypi", or an [*UnknownError]. It knows those that were
// there when this was written; the catalogue of a release may have more.
func OverlayImage(name string) (string, error) {
	var known []string
	for image, names := range overlayImages {
		for one := range strings.FieldsSeq(names) {
			if one == name {
				return image, nil
			}
			known = append(known, one)
		}
	}
	slices.Sort(known)
	return "", unknown("overlay", name, known)
}
