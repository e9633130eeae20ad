"""The policy file: its shape, and loading it checked and whole. The one reader of the environment."""
