"""Envoy's configuration for a policy: rendered, and checked against anybody's own."""
