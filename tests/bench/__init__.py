"""`make bench`: what the gateway costs, as ratios to Envoy alone in the same run.

cases.py      what is asked, and at which load
systems.py    who is asked: Envoy alone, the gateway, other gateways
generator.py  the load: closed loop, or a fixed rate
rounds.py     measured stretches, in interleaved rounds, to lines of JSON
footprint.py  time to start and memory at rest
peers.py      other gateways, installed into environments of their own
plot.py       lines of JSON to the README's plot
soak.py       half a million mixed requests, and what they leave in memory
"""
