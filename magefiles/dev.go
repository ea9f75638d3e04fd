//go:build mage

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/talosmith/talosmith/internal/cli"
	"github.com/talosmith/talosmith/internal/sandbox"
	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/source"
	"github.com/talosmith/talosmith/pkg/talos"
)

const demoOut = "out/demo"

// Demo builds extensions.hcl into out/demo against a stand-in Talos release made of Debian's parts: no registry, nothing to configure.
func Demo(ctx context.Context) error {
	cache, err := cli.CacheDir(os.LookupEnv)
	if err != nil {
		return err
	}
	version, err := cli.TalosVersion("extensions.hcl")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "This is a demo: its Talos is a stand-in made of Debian's kernel, systemd-boot and firmware, which boots and lists its extensions.")
	release, err := sandbox.Open(ctx, sandbox.Options{Cache: cache, Version: version, Mirror: os.Getenv("TALOSMITH_DEBIAN_MIRROR"), Log: func(m string) { fmt.Fprintln(os.Stderr, m) }})
	if err != nil {
		return err
	}
	defer release.Close()
	mirrors, err := source.ParseMirrors(release.Mirror())
	if err != nil {
		return err
	}
	s, err := cli.Open(cli.Options{Image: "metal", Out: demoOut, Mirrors: mirrors, Lock: demoOut + "/extensions.lock.json", Locked: new(false)})
	if err != nil {
		return err
	}
	if err := s.FreshLock(ctx); err != nil { // the stand-in changes with this program
		return errors.Join(err, s.Close())
	}
	_, err = s.Build(ctx, imager.Request{Kinds: []talos.Kind{talos.KindISO, talos.KindDisk, talos.KindInstaller}, Arch: talos.AMD64})
	return errors.Join(err, s.Close())
}
