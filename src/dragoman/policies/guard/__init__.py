"""Guardrails: what a request may not say, and what in it looks like an attack on the model."""
