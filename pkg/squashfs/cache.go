package squashfs

import (
	"container/list"
	"sync"
)

// cache keeps what was used last.
type cache[K comparable, T any] struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *cached[K, T], the last used first
	known map[K]*list.Element
}

type cached[K comparable, T any] struct {
	key   K
	value T
}

func newCache[K comparable, T any](n int) *cache[K, T] {
	return &cache[K, T]{max: n, order: list.New(), known: make(map[K]*list.Element, n)}
}

// get returns the value of a key, loading it where it is not in the cache. Goroutines that want the same at the same time may
// both load it.
func (c *cache[K, T]) get(key K, load func() (T, error)) (T, error) {
	c.mu.Lock()
	if e, ok := c.known[key]; ok {
		c.order.MoveToFront(e)
		c.mu.Unlock()
		return e.Value.(*cached[K, T]).value, nil
	}
	c.mu.Unlock()
	v, err := load()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.known[key]; ok {
		return v, nil
	}
	if c.order.Len() == c.max {
		last := c.order.Back()
		delete(c.known, last.Value.(*cached[K, T]).key)
		c.order.Remove(last)
	}
	c.known[key] = c.order.PushFront(&cached[K, T]{key, v})
	return v, nil
}
