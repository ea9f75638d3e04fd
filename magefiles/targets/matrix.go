package targets

import (
	"cmp"

	"github.com/talosmith/talosmith/internal/cli"
)

// Matrix prints the profile's images for a CI system, -format=json, github or gitlab, with the -target (all) that builds each: first those
// that make what several share. With -kubernetes it is an Indexed Job whose pods run in the -container, as GitLab's jobs do.
func Matrix(profile, format, target, container *string, kubernetes *bool) error {
	m := cli.Matrix{Format: cmp.Or(value(format), "json"), Target: cmp.Or(value(target), "all"), Container: value(container)}
	if kubernetes != nil && *kubernetes {
		m.Format = "kubernetes"
	}
	return cli.PrintMatrix(cli.Options{Profile: value(profile)}, m)
}
