"""The interactive look at an image's hypotheses, in a browser: one page that needs nothing beside it."""
