"""What all tests share."""

import os
import tempfile

from hypothesis import settings

# Costs that a test measures are not kept for the user; nodes that tests start inherit this.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="lie_picard_tests_")

# A timing is never an assertion.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
