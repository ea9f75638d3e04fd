package source

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	attempts     = 5                      // for one request, or for a download without progress
	firstWait    = 500 * time.Millisecond // doubled after each attempt
	maxRetryWait = 2 * time.Minute        // a registry that wants more patience is an error at once
)

// backoff is how long to wait after the n-th failure, counted from 1.
func backoff(n int) time.Duration { return firstWait << (n - 1) }

// retrier repeats requests that failed for a reason that may pass: a busy or broken server, a lost connection.
type retrier struct {
	inner http.RoundTripper
	wait  func(context.Context, time.Duration) error
	log   *slog.Logger
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for n := 1; ; n++ {
		resp, err := r.inner.RoundTrip(req)
		d, again := r.after(resp, err, n)
		if !again || n == attempts || req.Context().Err() != nil || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		reason := err
		if resp != nil {
			reason = errors.New(resp.Status)
			io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
			resp.Body.Close()
		}
		r.log.WarnContext(req.Context(), "registry: try again", "host", req.URL.Host, "after", d, "because", reason)
		if err := r.wait(req.Context(), d); err != nil {
			return nil, err
		}
		if req.Body != nil {
			if req = req.Clone(req.Context()); req.GetBody != nil {
				if req.Body, err = req.GetBody(); err != nil {
					return nil, err
				}
			}
		}
	}
}

// after tells whether to try again after the n-th attempt, and when.
func (r *retrier) after(resp *http.Response, err error, n int) (time.Duration, bool) {
	if err != nil {
		return backoff(n), passing(err)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	d := retryAfter(resp.Header.Get("Retry-After"))
	return max(d, backoff(n)), d <= maxRetryWait
}

// retryAfter reads the header's two forms: seconds, and a date.
func retryAfter(v string) time.Duration {
	if sec, err := strconv.ParseInt(v, 10, 32); err == nil && sec > 0 {
		return time.Duration(sec) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return time.Until(t)
	}
	return 0
}

// passing tells whether a network error may be gone soon. A refused connection, an unknown host and a bad certificate stay.
func passing(err error) bool {
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() ||
		strings.Contains(err.Error(), "http2: client conn could not be established") // hides why: the next attempt may tell
}
