// Program installer is the entrypoint of the stand-in's installer images. It installs nothing: it shows what the image would
// install.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	fmt.Printf("stand-in installer %s for %s; it installs nothing. In this image:\n", os.Getenv("VERSION"), os.Getenv("TARGETARCH"))
	err := filepath.WalkDir("/usr/install", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			fmt.Printf("%12d %s\n", st.Size(), path)
		}
		return err
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "installer:", err)
		os.Exit(1)
	}
}
