"""What ``scanside doctor`` looks at: parsers of a file system's root, and tries in processes.

Nothing here changes the machine, and nothing is asked of a network.
"""

from __future__ import annotations
