"""A provider simulator: speaks each dialect as a provider would, for demo, tests and benchmarks.

It shares no code with the gateway's own dialect codecs, so that it can judge them: it checks what
it receives as strictly as the real provider and answers in the provider's real shapes.

`serve` and `main` run it, `Simulator` runs it on a thread of a test, `SimulatorControl` talks to
its control API under `/_sim/`, and `dragoman.simulator.script` describes what can be scripted.
"""

from dragoman.simulator.control_client import LoggedRequest, SimulatorControl
from dragoman.simulator.server import Simulator, main, serve

__all__ = ["LoggedRequest", "Simulator", "SimulatorControl", "main", "serve"]
