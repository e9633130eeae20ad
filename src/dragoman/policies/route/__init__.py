"""Which upstreams, in which order, and why: a small module a strategy, composed by `choose`."""
