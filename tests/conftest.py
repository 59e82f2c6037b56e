"""What all tests share."""

from hypothesis import settings

# A timing is never an assertion.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")
