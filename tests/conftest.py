"""Settings for all tests."""

import os
import signal

from hypothesis import settings

from pipelines.__main__ import FRUGAL

# The command sets these before NumPy is imported; here the test modules import it first.
os.environ.update(FRUGAL)

# Without a deadline: on a shared machine the time of an example varies too much.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# A shell that starts the tests in the background makes them ignore SIGINT, and subprocesses inherit
# that. Tests that send SIGINT to a subprocess need the default handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
