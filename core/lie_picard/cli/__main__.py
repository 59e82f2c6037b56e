"""`python -m lie_picard.cli`, as `torchrun` needs it."""

import sys

from lie_picard.cli import main

sys.exit(main())
