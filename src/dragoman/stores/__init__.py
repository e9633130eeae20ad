"""Shared state, over the Redis protocol."""
