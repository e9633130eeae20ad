"""Dragoman: an LLM gateway that runs as an Envoy external-processing sidecar."""

__version__ = "0.1.0"
