"""Quality and speed of the guardrails' heuristics."""
