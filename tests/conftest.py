"""Torch on one thread for every test and every server that a test starts.

The networks are small, so more threads gain nothing; and torch's threads spin: beside another
process on two cores a test took fourteen times as long with two threads as with one.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
