"""`make bench`: what the gateway costs, as ratios to Envoy alone in the same run."""
