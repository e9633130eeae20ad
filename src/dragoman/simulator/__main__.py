"""`python -m dragoman.simulator`."""

import sys

from dragoman.simulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
