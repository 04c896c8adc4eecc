"""Units of the numbers in messages, and their size."""

from __future__ import annotations

import math

ANGLES = {"rad": 1.0, "mrad": 1e-3, "deg": math.pi / 180.0, "turn": 2.0 * math.pi}
LENGTHS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "um": 1e-6}
# Of the range of a joint: 0 is closed; 1, 100 and 1000 are open.
SHARES = {"share": 1.0, "percent": 1e-2, "per_mille": 1e-3}
UNITS = {**ANGLES, **LENGTHS, **SHARES}
