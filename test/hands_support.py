"""Small LeRobot datasets of two hands before a camera that moves, and where the hands really are."""

import json

import numpy as np
from scipy.spatial.transform import Rotation

from beingh_core.data.lerobot import Camera, DatasetSpec, DatasetWriter, Frame, Vector, VideoSettings

FPS = 20
SIZE = (48, 64)
LENGTHS = (12, 25)
SIDES = ("right", "left")
KEYS = {"right": ("eef_position", "eef_rotation"), "left": ("left_eef_position", "left_eef_rotation")}


def truth(episode, row):
    """The camera's pose in the world, and of each side: wrist pose in the world, joints, shape; all 4x4 or vectors."""
    t = 0.1 * row + episode
    camera = np.eye(4)
    camera[:3, :3] = Rotation.from_euler("zyx", [0.2 * t, 0.1 * np.sin(t), -1.6]).as_matrix()
    camera[:3, 3] = (0.05 * t, 0.1 * np.sin(0.5 * t), 1.4)
    hands = {}
    for s, side in enumerate(SIDES):
        seen = np.eye(4)  # before the camera
        seen[:3, :3] = Rotation.from_rotvec([0.3 + 0.2 * np.sin(t), 0.4 * s - 0.2, 0.3 * np.cos(t)]).as_matrix()
        seen[:3, 3] = (0.15 - 0.3 * s + 0.04 * np.sin(t), 0.1 + 0.02 * np.cos(2 * t), 0.45 + 0.03 * np.sin(3 * t))
        rng = np.random.default_rng((episode, s))
        theta = 0.4 * rng.random(45) + 0.2 * np.sin(t + np.arange(45))
        hands[side] = camera @ seen, theta, rng.normal(size=10)
    return camera, hands


def is_seen(episode, row, side):
    """The left hand is away in the middle of the first episode, the right one at the end of the second."""
    return not (side == "left" and episode == 0 and 4 <= row < 7) and not (
        side == "right" and episode == 1 and row >= 20
    )


def rotated(matrix, kind):
    turn = Rotation.from_matrix(matrix[:3, :3])
    return {
        "axis_angle": lambda: turn.as_rotvec(), "quaternion_wxyz": lambda: turn.as_quat()[[3, 0, 1, 2]],
        "quaternion_xyzw": lambda: turn.as_quat(), "matrix": lambda: matrix[:3, :3].reshape(-1),
        "rotation_6d": lambda: matrix[:3, :2].T.reshape(-1), "euler_xyz": lambda: turn.as_euler("xyz"),
    }[kind]()  # fmt: skip


def joints(theta, kind):
    matrices = np.tile(np.eye(4), (15, 1, 1))
    matrices[:, :3, :3] = Rotation.from_rotvec(theta.reshape(15, 3)).as_matrix()
    return np.concatenate([rotated(one, kind) for one in matrices])


def parts_of(episode, row, frame, kind, camera_name, hidden, sides):
    """name -> numbers of a row."""
    camera, hands = truth(episode, row)
    found = {}
    for side in sides:
        wrist, theta, beta = hands[side]
        pose = np.linalg.inv(camera) @ wrist if frame == "camera" else wrist
        values = {KEYS[side][0]: pose[:3, 3], KEYS[side][1]: rotated(pose, kind)}
        values |= {f"{side}_theta": joints(theta, kind), f"{side}_beta": beta}
        seen = is_seen(episode, row, side)
        if not seen and hidden != "flag":
            values = {name: np.full_like(value, np.nan if hidden == "nan" else 0.0) for name, value in values.items()}
        elif not seen:
            values = {name: value + 0.5 for name, value in values.items()}  # what a tracker goes on saying
        found |= values | ({f"{side}_seen": np.array([float(seen)])} if hidden == "flag" else {})
    if camera_name == "camera_pose":
        found["camera_pose"] = camera.reshape(-1)
    elif camera_name == "camera_extrinsics":
        found["camera_extrinsics"] = np.linalg.inv(camera).reshape(-1)
    elif camera_name == "short":
        found["camera_pose"] = np.concatenate([camera[:3, 3], rotated(camera, "quaternion_wxyz")])
    return found


def picture(episode, row):
    """Red grows to the right; blue tells episode and row."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, SIZE[1])
    image[..., 2] = (episode * 37 + row * 11) % 200 + 20
    return image


def write_hands(
    root, frame="camera", kind="axis_angle", camera="camera_pose", hidden="flag", sides=SIDES, scale=lambda values: values,
    task=lambda episode: f"pour water {episode}", lengths=LENGTHS, own_column=(), version="v3.0",
):  # fmt: skip
    """A dataset; `own_column` names parts that stand in a column of their own, `scale` changes a row's parts."""
    first = scale(parts_of(0, 0, frame, kind, camera, hidden, sides))
    shared = [name for name in first if name not in own_column]
    width = sum(len(first[name]) for name in shared)
    vectors = [Vector(key="observation.state", names=tuple(f"n{k}" for k in range(width)))]
    vectors += [
        Vector(key=f"hands.{name}", names=tuple(f"n{k}" for k in range(len(first[name])))) for name in own_column
    ]
    spec = DatasetSpec(
        fps=FPS, robot="human", vectors=tuple(vectors), version=version,
        cameras=(Camera(key="observation.images.head_view", height=SIZE[0], width=SIZE[1]),),
        video=VideoSettings(encoder="software"),
    )  # fmt: skip
    with DatasetWriter(root, spec) as writer:
        for episode, count in enumerate(lengths):
            frames = []
            for row in range(count):
                parts = scale(parts_of(episode, row, frame, kind, camera, hidden, sides))
                numbers = {"observation.state": np.concatenate([parts[name] for name in shared]).astype(np.float32)}
                numbers |= {f"hands.{name}": parts[name].astype(np.float32) for name in own_column}
                images = {"observation.images.head_view": picture(episode, row)}
                frames.append(Frame(vectors=numbers, images=images, task=task(episode)))
            writer.add(frames, source=f"s{episode}")
    state, at = {}, 0
    turned = ("rotation", "theta", "pose")
    for name in first:
        entry = {"original_key": f"hands.{name}", "start": 0, "end": len(first[name])}
        if name in shared:
            entry = {"start": at, "end": at + len(first[name])}
            at += len(first[name])
        if name.endswith(turned) and len(first[name]) != 16:
            entry["rotation_type"] = "quaternion_wxyz" if name == "camera_pose" else kind
        state[name] = entry
    (root / "meta/modality.json").write_text(json.dumps({"hands": {"frame": frame}, "state": state}))
    return root
