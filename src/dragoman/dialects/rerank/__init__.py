"""Reranking: one package, a file a dialect, all of which translate into each other."""
