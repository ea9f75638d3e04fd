package source

import (
	"os"

	"golang.org/x/sys/unix"
)

// nameless makes a file that never has a name, so that nothing can leave it behind. Some file systems can't: open(2), O_TMPFILE.
func nameless(dir string) (*os.File, error) { return os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600) }
