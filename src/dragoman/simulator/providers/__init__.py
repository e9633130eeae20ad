"""The pretended providers, one file a dialect, and the registry that picks one by path."""
