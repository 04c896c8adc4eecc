"""Arrays of a folder that every process maps by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class Mapped:
    """Base of what has its arrays in `folder`: cached properties give them by `_mapped`, and pickling leaves them out."""

    folder: Path

    def _mapped(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def __getstate__(self) -> dict:
        """Without the mapped arrays: another process maps them itself."""
        return {name: value for name, value in self.__dict__.items() if not isinstance(value, np.memmap)}
