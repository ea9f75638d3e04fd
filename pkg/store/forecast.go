package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/talosmith/talosmith/pkg/tree"
)

// Forecast says what building steps would come to, and does nothing of it. A step's key has its inputs' contents, so what lies behind a
// step that has not run yet has no key: it is to do.
type Forecast struct {
	s    *Store
	seen map[string]*Prospect
}

// Prospect is what would become of a step.
type Prospect struct {
	// ID is the same for equal steps, run or not.
	ID string
	// State is Stored where nothing is to do, Fetching where the remote store has what is wanted, Running where the step would run.
	State State
	// Result is the zero value where nobody knows it.
	Result
	// Content is the output, where it is in the directory.
	Content tree.Blob

	wanted bool // the content, not only its digest
}

// Forecast begins one. The remote store is asked for what is not in the directory.
func (s *Store) Forecast() *Forecast { return &Forecast{s: s, seen: map[string]*Prospect{}} }

// Build says what becomes of a step whose output is wanted, and takes it and what it needs into account.
func (f *Forecast) Build(ctx context.Context, st *Step) (*Prospect, error) {
	return f.visit(ctx, st, true)
}

// Of is what was said of a step, or of one that another step depends on.
func (f *Forecast) Of(st *Step) (*Prospect, bool) {
	id, err := st.id()
	p, ok := f.seen[id]
	return p, ok && err == nil
}

func (f *Forecast) visit(ctx context.Context, st *Step, wanted bool) (*Prospect, error) {
	id, err := st.id()
	if err != nil {
		return nil, err
	}
	p, again := f.seen[id]
	if !again {
		p = &Prospect{ID: id}
		f.seen[id] = p
	}
	if again && (p.State == Running || p.wanted || !wanted) {
		return p, nil
	}
	p.wanted = wanted
	if err := f.look(ctx, st, p); err != nil || p.State != Running {
		return p, err
	}
	for _, in := range st.Inputs { // a step that runs wants their contents
		if _, err := f.visit(ctx, in, true); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// look finds out what is known of a step.
func (f *Forecast) look(ctx context.Context, st *Step, p *Prospect) error {
	p.State = Running
	digests := make([]Digest, len(st.Inputs))
	for i, in := range st.Inputs {
		q, err := f.visit(ctx, in, false)
		if err != nil {
			return err
		}
		if q.Digest == "" {
			return ctx.Err()
		}
		digests[i] = q.Digest
	}
	key, err := st.key(digests)
	if err != nil {
		return err
	}
	r, known := f.s.readAction(key)
	if known {
		p.Result = r
		p.Content, _ = f.s.stored(st, r)
	}
	remote := false
	if f.s.o.Remote != nil && !f.s.o.Verify && (!known || p.wanted && p.Content == nil) {
		found, ok := f.s.o.Remote.Find(ctx, key)
		if ok = ok && found.valid(); ok && !known {
			p.Result, known = found.Result, true
			p.Content, _ = f.s.stored(st, found.Result)
		}
		remote = ok && found.Open != nil && found.Digest == p.Digest
	}
	switch {
	case f.s.o.Verify:
	case known && (!p.wanted || p.Content != nil):
		p.State = Stored
	case remote:
		p.State = Fetching
	}
	return ctx.Err()
}

// id tells steps apart whose keys are not known yet: by what they are, all the way down.
func (st *Step) id() (string, error) {
	params, err := json.Marshal(st.Params)
	if err != nil {
		return "", fmt.Errorf("%s: parameters: %w", st, err)
	}
	all := []any{st.Name, json.RawMessage(params)}
	for _, in := range st.Inputs {
		id, err := in.id()
		if err != nil {
			return "", err
		}
		all = append(all, id)
	}
	b, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}
