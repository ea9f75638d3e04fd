package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// warnings writes what packages log as notes, the same as our own. Nothing below a warning is shown.
type warnings struct{ note func(string) }

func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle writes the message, what it is about in parentheses, and the cause (the attribute "because") at the end.
func (w warnings) Handle(_ context.Context, r slog.Record) error {
	var about []string
	cause := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "because" {
			cause = ": " + a.Value.String()
		} else {
			about = append(about, a.Key+" "+a.Value.String())
		}
		return true
	})
	text := r.Message
	if len(about) > 0 {
		text += fmt.Sprintf(" (%s)", strings.Join(about, ", "))
	}
	w.note(text + cause)
	return nil
}

// WithAttrs and WithGroup are of slog.Handler; nobody here uses them.
func (w warnings) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w warnings) WithGroup(string) slog.Handler      { return w }

// log is a logger for those that have no printer.
func (o Options) log() *slog.Logger { return slog.New(warnings{newPrinter(o).note}) }
