"""Starts store, simulator, workers and Envoy; restarts what dies; drains and leaves nothing.

Two processes, one after the other under the same id. The first knows the policy: `planning` turns
it into a `plan`. The second, `__main__`, takes the first one's place, knows the plan alone and
imports next to nothing: it lives as long as the sidecar does, and weighs a third of the first.
"""
