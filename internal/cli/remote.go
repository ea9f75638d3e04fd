package cli

import (
	"context"
	"fmt"

	"github.com/talosmith/talosmith/pkg/store/oci"
)

// openRemote makes the store that the profile shares with other machines. It asks nothing of it yet.
func (s *Session) openRemote() (*oci.Store, error) {
	block := s.Profile.Store
	to, err := s.sources.Direct(block.Registry)
	if err != nil {
		return nil, fmt.Errorf("%s: store %s: %w", block.Range, block.Registry, err)
	}
	write, err := isSet(s.o.Env, "TALOSMITH_STORE_WRITE", block.Write)
	if err != nil {
		return nil, err
	}
	return oci.New(oci.Options{Direct: to, Write: write, Tool: Version(), Log: s.log()}), nil
}

// finish waits for what goes on beside the build, and says what all was done.
func (s *Session) finish(ctx context.Context) {
	if s.remote != nil {
		s.remote.Wait(ctx)
	}
	s.print.end()
}
