package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Digest names content: the SHA-256 of its bytes, as 64 hexadecimal digits.
type Digest string

// Key names a step with its inputs: a SHA-256, as 64 hexadecimal digits. It is never the digest of any content.
type Key string

// Output is where a step writes. What it never wrote reads as zeros; the last byte written ends it.
type Output interface {
	io.WriterAt
	io.ReaderAt
}

// Step is one piece of work. Two steps of the same name, parameters and inputs are the same step.
type Step struct {
	Name   string // what kind of work, such as "squashfs": part of the key
	Label  string // what on, for people: not part of the key
	Params any    // plain data that JSON encodes the same way every time; includes the version constants of the packages in use
	Inputs []*Step

	// Run writes the output. It must depend on Params and in, which are the inputs' contents in order, only. Once ctx is done, out
	// takes no more bytes.
	Run func(ctx context.Context, out Output, in []tree.Blob) error

	// Transient output is dropped when the store is closed; its digest stays known, so what was made of it stays found.
	Transient bool

	// Cores is how many goroutines of the step can compute at once: [Cores] tells Run how many it may have. 0: one.
	Cores int
	// Memory is what each of them takes at most, in bytes. 0: so little that it does not count.
	Memory int64
}

func (st *Step) String() string { return strings.TrimSpace(st.Name + " " + st.Label) }

// Result is what a step made.
type Result struct {
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"` // bytes
}

// valid tells whether a result that was read from somewhere can be one.
func (r Result) valid() bool {
	return r.Size >= 0 && len(r.Digest) == sha256.Size*2 && strings.Trim(string(r.Digest), "0123456789abcdef") == ""
}

// State of a step, as [Options].Observe hears of it.
type State int

// A step's output is there already; or it is fetched from the remote store, or the step runs, and it is there then. A step that is
// neither fetched nor done after it began has failed. Where another process is at it, that is waited for first.
const (
	Stored   State = iota
	Fetching       // again and again, with more bytes
	Fetched
	Running // again and again, with more bytes
	Done
	Failed
	Waiting
)

// Event tells how far a step is.
type Event struct {
	State State
	Key   Key // of equal steps the same
	Step  *Step
	Bytes int64 // so far; all of them once it is there
	Total int64 // while it is fetched, or while it runs and has told by Progress
}

// key computes a step's key from its inputs' digests.
func (st *Step) key(inputs []Digest) (Key, error) {
	params, err := json.Marshal(st.Params)
	if err != nil {
		return "", fmt.Errorf("%s: parameters: %w", st, err)
	}
	h := sha256.New()
	// Lengths make it impossible for two different steps to feed the same bytes.
	fmt.Fprintf(h, "talosmith step\n%d %s\n%d %s\n%d\n", len(st.Name), st.Name, len(params), params, len(inputs))
	for _, d := range inputs {
		fmt.Fprintf(h, "%d %s\n", len(d), d)
	}
	return Key(hex.EncodeToString(h.Sum(nil))), nil
}
