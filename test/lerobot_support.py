"""Small datasets for the tests, with pictures that are known again after encoding."""

import numpy as np

from beingh_core.data.lerobot import (
    Camera,
    DatasetSpec,
    DatasetWriter,
    DepthScale,
    Frame,
    Subtask,
    Vector,
    VideoSettings,
)

STATE, ACTION = "observation.state", "action"
SCENE, WRIST, DEPTH = (f"observation.images.{name}" for name in ("scene", "wrist", "depth"))
LENGTHS = (7, 12, 5, 9)


def spec(version="v3.0", subtasks=None, codec="h264", depth=False, cameras=2, fps=20):
    """A robot with three state numbers, one action and up to two cameras and a depth camera."""
    views = (Camera(key=SCENE, height=48, width=64), Camera(key=WRIST, height=64, width=64))[:cameras]
    if depth:
        views += (Camera(key=DEPTH, height=48, width=64, depth=DepthScale()),)
    vectors = (Vector(key=STATE, names=("x", "y", "z")), Vector(key=ACTION, names=("grip",)))
    video = VideoSettings(codec=codec, encoder="software")
    return DatasetSpec(
        fps=fps, robot="toy", vectors=vectors, cameras=views, version=version, video=video, subtasks=subtasks
    )


def picture(camera, episode, index):
    """Flat grey that tells episode and frame, or depth of random millimetres."""
    if camera.depth:
        return (
            np.random.default_rng((episode, index)).integers(0, 9000, (camera.height, camera.width)).astype(np.uint16)
        )
    return np.full((camera.height, camera.width, 3), (episode * 53 + index * 11) % 200 + 20, np.uint8)


def frames(of, episode, count):
    """Rows of an episode; the same every time."""
    for index in range(count):
        rng = np.random.default_rng((episode, index))
        yield Frame(
            vectors={STATE: rng.normal(size=3).astype(np.float32), ACTION: rng.random(1).astype(np.float32)},
            images={camera.key: picture(camera, episode, index) for camera in of.cameras},
            task=f"task {episode % 2}",
        )


def write(root, of, lengths=LENGTHS, first=0):
    """A dataset with episodes `first`, `first + 1`, ... of these lengths."""
    with DatasetWriter(root, of) as writer:
        for episode, count in enumerate(lengths, first):
            texts = [Subtask(start_s=0.0, text="reach"), Subtask(start_s=0.15, text=f"grasp {episode}")]
            writer.add(frames(of, episode, count), source=f"s{episode}", subtasks=texts if of.subtasks else ())
    return root


def contents(root):
    """Every file of a dataset but those that are being worked on: name -> bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".beingh" not in path.parts
    }


def check_intact(dataset, lengths, first=0):
    """Every episode has the rows and pictures that were given."""
    assert [episode.frames for episode in dataset.episodes] == list(lengths)
    for number, episode in enumerate(dataset.episodes, first):
        source = list(frames(dataset.spec, number, episode.frames))
        for key in (STATE, ACTION):
            np.testing.assert_array_equal(dataset.values(episode, key), [frame.vectors[key] for frame in source])
        assert [dataset.tasks[n] for n in dataset.values(episode, "task_index")[:, 0]] == [f.task for f in source]
        for camera in dataset.spec.cameras:
            shown = list(dataset.pictures(episode, camera.key))
            assert len(shown) == episode.frames
            for frame, seen in zip(source, shown):
                if camera.depth:
                    codes = camera.depth.codes(frame.images[camera.key])
                    np.testing.assert_array_equal(camera.depth.codes(seen), codes)
                else:
                    assert abs(seen.astype(int) - frame.images[camera.key]).max() <= 3
