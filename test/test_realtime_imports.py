"""The real-time parts run where neither ROS nor torch is: numpy is all they load."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_realtime_needs_numpy_only():
    modules = sorted(path.stem for path in (ROOT / "beingh_core" / "realtime").glob("*.py") if path.stem != "__init__")
    imports = "; ".join(f"import beingh_core.realtime.{name}" for name in modules)
    forbidden = "{'torch', 'rclpy', 'pinocchio', 'yaml', 'scipy'}"
    code = f"import sys; {imports}; print(sorted({forbidden} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
