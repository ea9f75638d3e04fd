// Package confine runs overlays' installers: programs made by others, kept from everything that they don't need as far as the system can.
//
// On Linux, from the best way that the system allows:
//
//  1. in namespaces of their own (user, network, mounts, processes, IPC, host name, cgroups), with the overlay's directory as the root, as a
//     user without any right but to pass over file permissions in there, which real installers expect;
//  2. for root, where user namespaces are switched off: the same with the others, as nobody;
//  3. for root, where there are none (in most containers): only the root directory and the user;
//  4. for other users: nothing of that.
//
// In the last two the network is in reach, and in the last one the user's files: [Runner].Note is told. Always: no environment but a fixed one,
// no open files, a limit of time and of what is printed, and the whole process group is killed at the end.
//
// # Not supported
//
// Devices and /proc in the root directory; a limit of memory.
package confine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Limits of a run.
const (
	defaultLimit = 2 * time.Minute
	maxOutput    = 1 << 20 // bytes, of each stream
	maxShown     = 2000    // bytes of an error
)

// Runner runs programs; see [overlay.Runner].
type Runner struct {
	// Limit is how long a program may run. 0: two minutes.
	Limit time.Duration
	// Note is told what a user should know, a sentence; nil: nobody.
	Note func(string)

	noted sync.Once
	ways  []way // nil: the system's
}

func (r *Runner) note(text string) {
	if r.Note != nil {
		r.noted.Do(func() { r.Note(text) })
	}
}

func (r *Runner) limit() time.Duration {
	if r.Limit == 0 {
		return defaultLimit
	}
	return r.Limit
}

var errOutput = fmt.Errorf("it printed more than %d bytes, and was ended", maxOutput)

// timeError says that a program took too long.
type timeError time.Duration

func (e timeError) Error() string {
	return fmt.Sprintf("it was not done after %v, and was ended", time.Duration(e))
}

// output is what a program prints; more than there may be ends it.
type output struct {
	buf []byte
	end context.CancelCauseFunc
}

func (o *output) Write(p []byte) (int, error) {
	if len(o.buf)+len(p) > maxOutput {
		o.end(errOutput)
		return 0, errOutput
	}
	o.buf = append(o.buf, p...)
	return len(p), nil
}

// failure is why a program failed: in its own words, without what could do something to a terminal.
func failure(err error, stderr []byte) error {
	if len(stderr) > maxShown {
		stderr = append([]byte("…"), stderr[len(stderr)-maxShown:]...)
	}
	said := strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(string(stderr), string(unicode.ReplacementChar))))
	if said == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, said)
}
