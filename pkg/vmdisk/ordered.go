package vmdisk

import (
	"runtime"
	"sync/atomic"
)

// encode appends to dst what src is compressed to.
type encode func(dst, src []byte) ([]byte, error)

// ordered compresses blocks on several processors and hands the results on in the order in which the blocks came.
type ordered struct {
	work   chan *job // to the workers
	queue  chan *job // to the one that hands on, in order
	free   chan *job // bounds the memory
	failed atomic.Bool
	err    error // set once failed is, read when all is over
	over   chan struct{}
}

// job is a block at work.
type job struct {
	index    int64
	in, out  []byte
	err      error
	finished chan struct{}
}

// newOrdered starts a worker for each encoder. Close must be called.
func newOrdered(encoders []encode, done func(index int64, in, out []byte) error) *ordered {
	depth := len(encoders) + 2
	o := &ordered{make(chan *job, depth), make(chan *job, depth), make(chan *job, depth), atomic.Bool{}, nil, make(chan struct{})}
	for range depth {
		o.free <- &job{finished: make(chan struct{}, 1)}
	}
	for _, encode := range encoders {
		go func() {
			for j := range o.work {
				j.out, j.err = encode(j.out[:0], j.in)
				j.finished <- struct{}{}
			}
		}()
	}
	go func() {
		defer close(o.over)
		for j := range o.queue {
			<-j.finished
			if o.err == nil {
				if o.err = j.err; o.err == nil {
					o.err = done(j.index, j.in, j.out)
				}
				o.failed.Store(o.err != nil)
			}
			o.free <- j
		}
	}()
	return o
}

// add takes a block, a copy of it. Where there was an error before, add returns it.
func (o *ordered) add(index int64, b []byte) error {
	if o.failed.Load() {
		return o.err
	}
	j := <-o.free
	j.index, j.in = index, append(j.in[:0], b...)
	o.queue <- j
	o.work <- j
	return nil
}

// close waits for the last block, and returns the first error.
func (o *ordered) close() error {
	close(o.work)
	close(o.queue)
	<-o.over
	return o.err
}

// newEncoders returns an encoder for each processor, but at most so many.
func newEncoders(most int, newEncoder func() (encode, error)) ([]encode, error) {
	encoders := make([]encode, min(most, runtime.GOMAXPROCS(0)))
	for i := range encoders {
		var err error
		if encoders[i], err = newEncoder(); err != nil {
			return nil, err
		}
	}
	return encoders, nil
}
