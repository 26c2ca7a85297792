"""What holds for all tests."""

import signal

from hypothesis import settings

# No test is timed: the machines are shared.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Tests that press Ctrl-C do so to processes that inherit what this one does with it: nothing, where a shell has put it in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
