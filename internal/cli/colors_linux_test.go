package cli

import (
	"io"
	"os"
	"testing"
)

// TestColors: https://no-color.org says that an empty NO_COLOR is as good as none.
func TestColors(t *testing.T) {
	_, name := newTerminal(t)
	tty, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"TERM": "xterm"}, true},
		{map[string]string{"TERM": "xterm", "NO_COLOR": ""}, true},
		{map[string]string{"TERM": "xterm", "NO_COLOR": "0"}, false},
		{map[string]string{"TERM": "dumb"}, false},
	} {
		o := Options{Env: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }}
		if got := o.colors(tty); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
	if (Options{Env: os.LookupEnv}).colors(io.Discard) {
		t.Error("a file gets colours")
	}
}
