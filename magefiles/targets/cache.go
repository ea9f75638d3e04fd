package targets

import (
	"cmp"
	"context"
	"errors"

	"github.com/talosmith/talosmith/internal/cli"
)

// Cache shows what the cache holds. With -prune it removes what was used the longest ago, until all of it has at most -size (10GiB), and
// all that was not used for -age (30d). Nothing else ever prunes.
func Cache(ctx context.Context, prune *bool, size, age *string) error {
	if isSet(prune) {
		return cli.CachePrune(ctx, cli.Options{}, cmp.Or(value(size), cli.PruneSize), cmp.Or(value(age), cli.PruneAge))
	}
	if size != nil || age != nil {
		return errors.New("cache: -size and -age say what -prune removes: add -prune")
	}
	return cli.CacheUse(cli.Options{})
}
