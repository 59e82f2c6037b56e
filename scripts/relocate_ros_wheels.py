"""Point the CMake files of the ROS wheels at this machine's Python headers.

The wheels name the include folders of the machine that built them; message packages do not compile until those
are this interpreter's. Safe to run again.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

_PYTHON = re.compile(r"/opt/python/cp\d+-cp\d+/include/python[\d.]+")
_NUMPY = re.compile(r"/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/_core/include")


def main() -> int:
    """Rewrite every CMake file below the environment's share folder. Returns the exit status."""
    for file in (Path(sys.prefix) / "share").glob("*/cmake/*.cmake"):
        old = file.read_text()
        new = _NUMPY.sub(numpy.get_include(), _PYTHON.sub(sysconfig.get_path("include"), old))
        if new != old:
            file.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
