package cli

import (
	"context"
	"errors"
	"time"

	"github.com/talosmith/talosmith/pkg/imager"
	"github.com/talosmith/talosmith/pkg/profile"
)

// PlanOptions say what is told of a plan, and how.
type PlanOptions struct {
	JSON     bool
	Markdown bool   // as a comment on a pull request
	Diff     string // a git revision that is compared with; empty: the whole plan
}

// patience is how long a plan looks for what it is of use without.
const patience = 10 * time.Second

// Plan shows what a build would make and what that takes, or what has changed since a git revision. An image without extensions needs no
// network.
func (s *Session) Plan(ctx context.Context, o PlanOptions) error {
	if o.JSON && o.Markdown {
		return errors.New("plan: -json or -markdown, not both")
	}
	if o.Diff != "" {
		return s.planDiff(ctx, o)
	}
	d, err := s.describe(ctx, true)
	switch {
	case err != nil:
		return err
	case o.JSON:
		return writeJSON(s.o.Stdout, d)
	case o.Markdown:
		return writeMarkdown(s.o.Stdout, planMarkdown(d))
	}
	return planText(d, s.o.colors(s.o.Stdout)).writeTo(s.o.Stdout)
}

func (s *Session) planDiff(ctx context.Context, o PlanOptions) error {
	to, err := s.describe(ctx, false)
	if err != nil {
		return err
	}
	from, commit, err := s.describeRevision(ctx, o.Diff)
	if err != nil {
		return err
	}
	d := imager.DiffPlans(from, to)
	switch {
	case o.JSON:
		return writeJSON(s.o.Stdout, d)
	case o.Markdown:
		return writeMarkdown(s.o.Stdout, diffMarkdown(d, o.Diff, commit))
	}
	return writeDifferences(s.o.Stdout, d, s.o.colors(s.o.Stdout))
}

// describe says what the profile's images are; with look, also what making them would come to on this machine.
func (s *Session) describe(ctx context.Context, look bool) (*imager.Description, error) {
	lock, err := profile.ReadLock(s.lockPath())
	if err != nil {
		return nil, err
	}
	res, jobs, diags := imager.Resolve(ctx, s.Profile, imager.Request{Image: s.o.Image, ExtensionsOnly: !look, Patience: patience, Lock: lock, Runner: s.runner}, s.sources)
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	if err := s.show(diags); err != nil {
		return nil, err
	}
	var on *imager.Outlook
	if look {
		for _, err := range res.Missed {
			s.print.note("not all of the plan is known: " + err.Error())
		}
		if on, err = imager.Look(ctx, res, jobs, s.options()); err != nil {
			return nil, err
		}
	}
	return imager.Describe(res, jobs, lock, on)
}
