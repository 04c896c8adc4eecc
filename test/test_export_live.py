"""Rows of a bag equal what the live nodes make of the same messages, for everything that a contract can name."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interface_builder import provide
from live_support import BEGIN, NS, Live, positions, recording, write_bag

from beingh_core.contract import load_contract
from beingh_core.contract.codec import SignalCodec
from beingh_core.data import convert as convert_module
from beingh_core.data.bag_files import ContractBag, open_bag
from beingh_core.data.command_messages import command_topics
from beingh_core.data.contract_rows import ACTION, STATE, depth_columns
from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import Dataset, VideoSettings
from beingh_core.data.recorded import Recorded
from beingh_core.data.resample import Resampler, Resampling, from_bag
from beingh_core.errors import BeingHError

ROBOTS = Path(__file__).parent / "data" / "robots"
NEEDS = {"dex3_hand": "unitree_hg", "low_state": "unitree_hg", "mobile_base": "nav_msgs"}
POSE = "geometry_msgs/msg/PoseStamped"
# name -> (contract, what is changed in its text)
VARIANTS = {
    "degrees_arm": ("degrees_arm", ()),
    "inspire_hand": ("inspire_hand", ()),
    "dex3_hand": ("dex3_hand", (("mode: relative", "mode: absolute"),)),
    "low_state": ("dex3_hand", (("mode: relative", "mode: absolute"), ("HandState", "LowState"))),
    "pose_arm": ("pose_arm", ()),
    "transform": ("pose_arm", ((POSE, "geometry_msgs/msg/TransformStamped"), ("quaternion_xyzw", "rotation_6d"))),
    "covariance": ("pose_arm", ((POSE, "geometry_msgs/msg/PoseWithCovarianceStamped"), ("quaternion_xyzw", "euler_xyz"))),
    "axis_angle": ("pose_arm", (("rotation: quaternion_xyzw", "rotation: axis_angle"),)),
    "mobile_base": ("mobile_base", (("mode: relative", "mode: delta"),)),
}  # fmt: skip


def variant(name, folder):
    source, changes = VARIANTS[name]
    text = (ROBOTS / f"{source}.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    for urdf in ROBOTS.glob("*.urdf"):
        shutil.copy(urdf, folder)
    (folder / f"{name}.yaml").write_text(text)
    if name in NEEDS:
        provide(NEEDS[name])
    return load_contract(folder / f"{name}.yaml")


def rows_of(path, contract, **more):
    with open_bag(path) as bag:
        reader = ContractBag(bag, contract)
        commands = command_topics(contract, reader.topics, None)
        wanted = (Recorded.topics(contract, commands) | Recorded.more_topics(contract)) & set(reader.topics)
        found = Resampler(contract, from_bag(reader, wanted), commands, "move", Resampling(min_frames=1), **more)
        pieces = [(piece, list(piece)) for piece in found.pieces()]
    [(piece, rows)] = pieces
    return piece.ticks_ns, rows, found.findings


def check_states(contract, messages, ticks_ns, rows):
    """The state of each row is the live one, number for number; the action leads to the command of its tick."""
    codec, previous, live, coming = SignalCodec(contract), None, Live(contract), list(messages)
    command = lambda tick: np.array([positions(contract, tick)[joint] for joint in contract.joint_names])
    assert len(rows) > 5
    for tick_ns, row in zip(ticks_ns, rows):
        while coming and coming[0][0] <= tick_ns + 100_000_000:
            live.feed(*coming.pop(0))
        previous = codec.encode_state(live.numbers(contract, tick_ns), previous)
        np.testing.assert_array_equal(row.vectors[STATE], np.concatenate([previous[s.slot] for s in contract.state]))
        before = tick_ns - round(NS / contract.rate_hz)
        encoded = codec.encode_commands(np.stack([command(before), command(tick_ns)]))
        wanted = np.concatenate([encoded[s.slot][0] for s in contract.action])
        np.testing.assert_allclose(row.vectors[ACTION], wanted, atol=1e-12)
        for camera in contract.cameras:
            np.testing.assert_array_equal(
                row.images[f"observation.images.{camera.name}"], live.picture(camera.name, tick_ns)
            )


@pytest.mark.parametrize("name", VARIANTS)
def test_states_of_every_kind(name, tmp_path):
    contract = variant(name, tmp_path)
    messages = recording(contract)
    ticks_ns, rows, findings = rows_of(write_bag(tmp_path / "bag", messages), contract)
    assert findings.gaps == [] and findings.without_stamp == 0
    check_states(contract, messages, ticks_ns, rows)


CAMERAS = {
    "crop": {"crop": (8, 4, 32, 24)},
    "rotate": {"rotate": 90},
    "undistort": {"undistort": "/lens"},
    "all": {"undistort": "/lens", "rotate": 270, "crop": (2, 6, 20, 30)},
    "compressed": {"type": "sensor_msgs/msg/CompressedImage", "encoding": "png"},
    "depth": {"encoding": "16UC1", "depth": (0.001, 0.2, 3.0), "rotate": 180},
    "depth_undistorted": {"encoding": "16UC1", "depth": (0.0005, 0.2, 1.5), "undistort": "/lens"},
}


def with_camera(**changes):
    contract = load_contract("fr3")
    return replace(contract, cameras=(replace(contract.cameras[0], **changes), contract.cameras[1]))


@pytest.mark.parametrize("name", CAMERAS)
def test_cameras_of_every_kind(name, tmp_path):
    contract = with_camera(**CAMERAS[name])
    messages = recording(contract)
    ticks_ns, rows, findings = rows_of(write_bag(tmp_path / "bag", messages), contract)
    assert findings.gaps == [] and findings.uncalibrated == ("undistort" in CAMERAS[name])
    check_states(contract, messages, ticks_ns[:6], rows[:6])


def test_two_views_of_one_camera(tmp_path):
    contract = load_contract("fr3")
    scene = contract.cameras[0]
    contract = replace(contract, cameras=(scene, replace(scene, name="wrist_view", crop=(8, 4, 32, 24))))
    messages = [m for m in recording(contract) if m[1] != scene.topic]
    messages = sorted(
        messages + [m for m in recording(replace(contract, cameras=(scene,))) if m[1] == scene.topic],
        key=lambda m: m[0],
    )
    ticks_ns, rows, _ = rows_of(write_bag(tmp_path / "bag", messages), contract)
    check_states(contract, messages, ticks_ns[:6], rows[:6])


@pytest.mark.parametrize("silent", [False, True])
def test_an_optional_camera_is_black_where_it_is_silent(tmp_path, silent):
    contract = with_camera(optional=True)
    name = contract.cameras[0].name
    messages = recording(contract, 2.0, silent=(name,) * silent)
    cut = BEGIN + NS
    messages = [m for m in messages if m[1] != contract.cameras[0].topic or m[0] < cut]
    ticks_ns, rows, findings = rows_of(write_bag(tmp_path / "bag", messages), contract, sizes={name: (48, 64)})
    seen = [bool(row.images[f"observation.images.{name}"].any()) for row in rows]
    live = Live(contract)
    for message in messages:
        live.feed(*message)
    assert seen == [bool(live.picture(name, tick).any()) for tick in ticks_ns]
    assert findings.gaps == [] and findings.blank >= seen.count(False) > 0 and len(rows) == 39
    assert any(seen) != silent


def test_depth_is_exported_as_12_bits_beside_its_grey_picture(tmp_path, monkeypatch):
    contract = with_camera(**CAMERAS["depth"])
    monkeypatch.setattr(convert_module, "load_contract", lambda _: contract)
    monkeypatch.setattr("beingh_core.data.export.load_contract", lambda _: contract)
    path = write_bag(tmp_path / "bag", recording(contract))
    options = {"contract": "fr3", "video": VideoSettings(encoder="software"), "workers": 1}
    [outcome] = export([path], Export(out=tmp_path / "d", **options), open_bag)
    assert outcome.state == "exported", outcome.findings
    dataset = Dataset(tmp_path / "d")
    column = depth_columns(contract)["scene_view"]
    camera = next(camera for camera in dataset.spec.cameras if camera.key == column.key)
    assert camera.depth is not None and camera.depth.unit == "mm"
    _, rows, _ = rows_of(path, contract, depth=depth_columns(contract))
    shown = list(dataset.pictures(dataset.episodes[0], column.key))
    assert len(shown) == len(rows)
    for row, seen in zip(rows, shown):
        np.testing.assert_array_equal(camera.depth.codes(seen), camera.depth.codes(row.images[column.key]))
    export([path], Export(out=tmp_path / "grey", depth=False, **options), open_bag)
    assert [c.key for c in Dataset(tmp_path / "grey").spec.cameras] == [
        "observation.images.scene_view", "observation.images.wrist_view",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["degrees_arm", "mobile_base"])
def test_commands_of_the_drivers_in_the_robots_own_units(name, tmp_path):
    """Without our controller the driver's topics say what was commanded."""
    from geometry_msgs.msg import Twist
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray
    from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

    contract = variant(name, tmp_path)
    messages = [m for m in recording(contract) if not m[1].startswith("controller/")]
    kinds = {"forward_command": Float64MultiArray, "joint_state_command": JointState, "twist_base": Twist}
    for driver in contract.drivers:
        for tick in range(20):
            stamp = BEGIN + round(tick * NS / contract.rate_hz)
            group, kind = driver.groups[0], kinds.get(driver.kind, JointTrajectory)
            values = np.array([positions(contract, stamp)[joint] for joint in group.joints])
            wire = group.wire
            numbers = (values if wire is None else wire.values(values)).tolist()
            names = list(group.joints if wire is None else wire.names)
            message = kind()
            if kind is Float64MultiArray:
                message.data = numbers
            elif kind is Twist:
                message.linear.x, message.angular.z = numbers
            elif kind is JointState:
                message.name, message.position = names, numbers
            else:
                message.joint_names, message.points = names, [JointTrajectoryPoint(positions=numbers)]
            if hasattr(message, "header"):
                message.header.stamp.sec, message.header.stamp.nanosec = stamp // NS, stamp % NS
            name_of_type = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
            messages.append((stamp, group.topic, name_of_type, message))
    ticks_ns, rows, _ = rows_of(write_bag(tmp_path / "bag", sorted(messages, key=lambda m: m[0])), contract)
    check_states(contract, messages, ticks_ns, rows)


def test_what_is_no_command_and_what_a_base_cannot_measure_is_refused(tmp_path):
    contract = variant("mobile_base", tmp_path)
    with pytest.raises(BeingHError, match="velocities of a base"):
        command_topics(contract, ["controller/buffer"], "states")
    with pytest.raises(BeingHError, match="no controller/base_buffer"):
        command_topics(contract, ["controller/buffer"], None)
    pose = variant("pose_arm", tmp_path)
    messages = [m for m in recording(pose) if not m[1].startswith("controller/")]
    servo = [(m[0], "/servo/command", m[2], m[3]) for m in messages if m[1] == "/servo/pose"]
    path = write_bag(tmp_path / "bag", sorted(messages + servo, key=lambda m: m[0]))
    with pytest.raises(BeingHError, match="on /servo/command names no joints"):
        rows_of(path, pose)
