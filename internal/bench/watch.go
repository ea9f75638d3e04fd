package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// watchPeriod is how often a process is looked at.
const watchPeriod = 10 * time.Millisecond

// watch looks at the files that a process has open for writing, also those without a name any more. What it returns ends that, and
// tells how many bytes they took on the disk at most, outside of some folders. Without folders nothing is watched.
func watch(pid int, inside []string) (stop func() int64) {
	if len(inside) == 0 {
		return func() int64 { return 0 }
	}
	ended, most := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		for {
			select {
			case <-ended:
				most <- peak
				return
			case <-time.After(watchPeriod):
				peak = max(peak, written(pid, inside))
			}
		}
	}()
	return func() int64 {
		close(ended)
		return <-most
	}
}

// written is how many bytes the files take that a process has open for writing at this moment. Files that it closes meanwhile don't count.
func written(pid int, inside []string) (bytes int64) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	open, _ := filepath.Glob(dir + "fd/*")
	for _, fd := range open {
		name, err := os.Readlink(fd)
		if err != nil || slices.ContainsFunc(inside, func(folder string) bool { return strings.HasPrefix(name, folder+"/") }) {
			continue
		}
		st, err := os.Stat(fd)
		if err != nil || !st.Mode().IsRegular() || !writes(dir+"fdinfo/"+filepath.Base(fd)) {
			continue
		}
		if on, ok := st.Sys().(*syscall.Stat_t); ok {
			bytes += on.Blocks * 512
		}
	}
	return bytes
}

// writes tells whether a file is open for writing: proc(5), fdinfo.
func writes(fdinfo string) bool {
	text, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	_, flags, _ := strings.Cut(string(text), "flags:")
	flags, _, _ = strings.Cut(strings.TrimSpace(flags), "\n")
	mode, err := strconv.ParseInt(flags, 8, 64)
	return err == nil && mode&syscall.O_ACCMODE != syscall.O_RDONLY
}
