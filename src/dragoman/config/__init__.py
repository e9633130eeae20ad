"""The policy file: its shape, and loading it checked and whole; the environment is read here."""
