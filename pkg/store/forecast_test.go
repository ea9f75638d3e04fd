package store_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/talosmith/talosmith/pkg/store"
	"github.com/talosmith/talosmith/pkg/tree"
)

// memory is a remote store. It keeps the results of transient outputs only.
type memory struct {
	mu  sync.Mutex
	all map[store.Key]store.Entry
}

func (m *memory) Put(e store.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.Content != nil { // its file may go
		b, err := tree.ReadAll(e.Content)
		if err != nil {
			panic(err)
		}
		e.Content = tree.Bytes(b)
	}
	m.all[e.Key] = e
}

func (m *memory) Find(_ context.Context, k store.Key) (store.Found, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.all[k]
	f := store.Found{Result: e.Result, Wrong: func(error) {}}
	if e.Content != nil {
		f.Open = func(context.Context) (io.ReadCloser, error) { return e.Content.Open() }
	}
	return f, ok
}

// TestForecastComesTrue foretells builds, and then builds: the same steps run and are fetched, no others.
func TestForecastComesTrue(t *testing.T) {
	t.Parallel()
	var ran atomic.Int64
	// Two leaves, of which one is transient; something of each; and something of all that.
	graph := func(leaf, top string) *store.Step {
		a, b := say("a", &ran), say(leaf, &ran)
		b.Transient = true
		return say(top, &ran, say("of a", &ran, a), say("of "+leaf, &ran, b), b)
	}
	remove := func(kind string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, kind)); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := func(*testing.T, string) {}
	for _, c := range []struct {
		name     string
		between  func(*testing.T, string) // what happens to the directory after a build of graph("b", "top")
		next     *store.Step
		verify   bool
		shared   bool
		run, get string
	}{
		{"nothing is there", remove("actions"), graph("b", "top"), false, false, "a, b, of a, of b, top", ""},
		{"all is there", none, graph("b", "top"), false, false, "", ""},
		{"another top", none, graph("b", "other"), false, false, "b, other", ""}, // the transient leaf is gone
		{"another leaf", none, graph("c", "top"), false, false, "c, of c, top", ""},
		{"outputs are gone", remove("blobs"), graph("b", "top"), false, false, "a, b, of a, of b, top", ""},
		{"verify", none, graph("b", "top"), true, false, "a, b, of a, of b, top", ""},
		{"another machine", remove("."), graph("b", "top"), false, true, "", "top"},
		{"another machine, another top", remove("."), graph("b", "other"), false, true, "b, other", "of a, of b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			o := store.Options{Dir: dir, Workers: 1, Verify: c.verify}
			if c.shared {
				o.Remote = &memory{all: map[store.Key]store.Entry{}}
			}
			first, err := store.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			build(t, first, graph("b", "top"))
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			c.between(t, dir)

			var mu sync.Mutex
			did := map[store.State][]string{}
			o.Observe = func(e store.Event) {
				mu.Lock()
				defer mu.Unlock()
				did[e.State] = append(did[e.State], e.Step.Label)
			}
			s := open(t, o)
			f := s.Forecast()
			p, err := f.Build(t.Context(), c.next)
			if err != nil {
				t.Fatal(err)
			}
			if len(did) > 0 {
				t.Errorf("a forecast did %v", did)
			}
			content := build(t, s, c.next)
			if p.State == store.Stored && int64(len(content)) != p.Size {
				t.Errorf("foretold %+v, got %q", p, content)
			}
			sorted := func(list []string) string { slices.Sort(list); return strings.Join(slices.Compact(list), ", ") }
			if run, get := sorted(did[store.Done]), sorted(did[store.Fetched]); run != c.run || get != c.get {
				t.Errorf("ran %q and fetched %q, want %q and %q", run, get, c.run, c.get)
			}
			if run, get := labels(t, f, c.next, store.Running), labels(t, f, c.next, store.Fetching); sorted(run) != c.run || sorted(get) != c.get {
				t.Errorf("foretold that %q run and %q are fetched, want %q and %q", run, get, c.run, c.get)
			}
		})
	}
}

// labels are those of a step and all behind it that the forecast says something of.
func labels(t *testing.T, f *store.Forecast, st *store.Step, state store.State) (all []string) {
	t.Helper()
	if p, ok := f.Of(st); ok && p.State == state {
		all = append(all, st.Label)
	}
	for _, in := range st.Inputs {
		all = append(all, labels(t, f, in, state)...)
	}
	return all
}

// TestForecastReads what is there, and of equal steps says the same.
func TestForecastReads(t *testing.T) {
	t.Parallel()
	var ran atomic.Int64
	s := open(t, store.Options{Dir: t.TempDir()})
	build(t, s, say("top", &ran, say("leaf", &ran)))
	f := s.Forecast()
	p, err := f.Build(t.Context(), say("top", &ran, say("leaf", &ran)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := tree.ReadAll(p.Content); err != nil || string(text) != "leaftop" || p.Size != 7 {
		t.Errorf("%q, %v, %+v", text, err, p)
	}
	if again, err := f.Build(t.Context(), say("top", &ran, say("leaf", &ran))); again != p || err != nil {
		t.Errorf("an equal step is another one, %v", err)
	}
	bad := say("x", &ran)
	bad.Params = func() {}
	if _, err := f.Build(t.Context(), bad); err == nil {
		t.Error("no error for parameters that have no JSON")
	}
}
