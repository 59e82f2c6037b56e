"""Views of one part beside its posterior: `python scripts/view_posterior.py CHECKPOINT OBJECT PICTURE`.

Images that leave one pose, and images that leave more (as of a mug whose handle is hidden), each with its samples and
true poses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lie_picard import PoseEstimator
from lie_picard.drawing.gallery import plot_gallery
from lie_picard.evaluation import assess


def main() -> None:
    """Draw two images of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("object")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    estimator = PoseEstimator.from_checkpoint(args.checkpoint, "cpu")
    pictures = [one for seed in args.seeds for one in assess.gallery(estimator, (args.object,), seed)]
    plot_gallery(args.picture, estimator, pictures, 200)


if __name__ == "__main__":
    main()
