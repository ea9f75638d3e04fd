package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/talosmith/talosmith/internal/sandbox"
)

// jobVariable is the environment variable by which a process of this binary learns its job.
const jobVariable = "TALOSMITH_BENCH_JOB"

// job is what a process of ours does for a measure. One field is set.
type job struct {
	Serve    *serveJob    `json:",omitempty"`
	Registry *registryJob `json:",omitempty"`
	Lay      *layJob      `json:",omitempty"`
	Squashfs *squashfsJob `json:",omitempty"`
	Read     *readJob     `json:",omitempty"`
}

func runJob(ctx context.Context, text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("%s: %w", jobVariable, err)
	}
	switch {
	case j.Serve != nil:
		return j.Serve.run(ctx)
	case j.Registry != nil:
		return j.Registry.run()
	case j.Lay != nil:
		return j.Lay.run(ctx)
	case j.Squashfs != nil:
		return j.Squashfs.run()
	case j.Read != nil:
		return j.Read.run()
	}
	return fmt.Errorf("%s: no job", jobVariable)
}

// job is the process that does a job.
func (b *bench) job(j job) (process, error) {
	text, err := json.Marshal(j)
	return process{env: []string{jobVariable + "=" + string(text)}, args: []string{b.self, "bench"}}, err
}

// do does a job and decodes what it prints.
func (b *bench) do(ctx context.Context, j job, result any) (cost, error) {
	p, err := b.job(j)
	if err != nil {
		return cost{}, err
	}
	o, err := p.run(ctx)
	if err == nil && result != nil {
		err = json.Unmarshal([]byte(o.stdout), result)
	}
	return o.cost, err
}

// serveJob serves a stand-in release, made if need be, until its standard input ends: a process of its own, since making one takes
// much memory.
type serveJob struct{ Version, Cache, Mirror string }

func (j serveJob) run(ctx context.Context) error {
	log := func(m string) { fmt.Fprintln(os.Stderr, m) }
	release, err := sandbox.Open(ctx, sandbox.Options{Cache: j.Cache, Version: j.Version, Mirror: j.Mirror, Log: log})
	if err != nil {
		return err
	}
	fmt.Println(release.Mirror())
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, release.Close())
}

// server is a process that serves something.
type server struct {
	address string // what it says of where: for a release, what TALOSMITH_MIRRORS is set to
	cmd     *exec.Cmd
	stop    io.Closer
}

// serve starts to serve a release.
func (b *bench) serve(ctx context.Context, version string) (*server, error) {
	s, err := b.start(ctx, job{Serve: &serveJob{Version: version, Cache: b.Cache, Mirror: b.Mirror}})
	if err != nil {
		return nil, fmt.Errorf("serve the stand-in of Talos %s: %w", version, err)
	}
	return s, nil
}

// start starts a job that serves until it is closed.
func (b *bench) start(ctx context.Context, j job) (*server, error) {
	p, err := b.job(j)
	if err != nil {
		return nil, err
	}
	s := &server{cmd: p.command(ctx)}
	s.cmd.Stderr = b.Log
	if s.stop, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		return nil, errors.Join(errors.New("the process ended"), s.close())
	}
	s.address = lines.Text()
	return s, nil
}

func (s *server) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.stop.Close(), s.cmd.Wait())
}
