"""Pictures on their way to a policy server: the model's size, the policy's pixels, and servers that do not name a size."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from PIL import Image
from remote_support import FR3, Served, Wrapped, make_checkpoint, observation

from beingh_core.errors import BeingHError
from beingh_core.policy.loading import load_for_contract
from beingh_core.policy.remote import native
from beingh_core.policy.remote.client import RemotePolicy

SHAPES = ((1080, 1920), (1920, 1080), (480, 640), (333, 517), (61, 8))
LEAST_DB = 35.0  # docs/remote_inference.md


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return load_for_contract(FR3, make_checkpoint(tmp_path_factory.mktemp("checkpoint")), threads=1)


class Seeing(Wrapped):
    """The policy, with what it was given last."""

    def get_action(self, observations, **options):
        self.seen = observations
        return super().get_action(observations, **options)


def photo(shape, seed=0):
    """A picture with edges, colours and grain of a camera."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC)).astype(float)
    smooth[shape[0] // 3 : shape[0] // 2, shape[1] // 3 : shape[1] // 2] = (200, 30, 30)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def with_pictures(policy, shape):
    pictures = {f"video.{view}": photo(shape, seed)[None] for seed, view in enumerate(policy.views)}
    return observation(policy) | pictures


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_large_picture_travels_small_and_gives_the_same_chunk(local, shape):
    obs, seen = with_pictures(local, shape), {}
    torch.manual_seed(3)  # of the noise, also in the server's thread
    expected = local.get_action(obs)
    for whole in (False, True):
        policy = Seeing(local)
        with Served(policy, FR3) as served:
            remote = RemotePolicy(served.url, FR3, deadline_s=20)
            if whole:  # as an older robot sends them
                remote._image_size = 0
            torch.manual_seed(3)
            output = remote.get_action(obs)
            remote.close()
        for name, array in expected.items():
            np.testing.assert_array_equal(output[name], array, err_msg=name)
        seen[whole] = policy.seen
        if not whole:
            assert remote.last_request_bytes < len(local.views) * 3 * local.image_size**2 + 2048
    for view in local.views:
        assert seen[True][f"video.{view}"].shape == (1, *shape, 3)
        assert seen[False][f"video.{view}"].shape == (1, local.image_size, local.image_size, 3)


def test_jpeg_of_the_shrunk_picture_is_close(local):
    obs, policy = with_pictures(local, (1080, 1920)), Seeing(local)
    seen = {}
    with Served(policy, FR3) as served:
        for quality in (0, 90):
            RemotePolicy(served.url, FR3, deadline_s=20, jpeg_quality=quality).get_action(obs)
            seen[quality] = policy.seen
    for view in local.views:
        raw, jpeg = (seen[quality][f"video.{view}"].astype(float) for quality in (0, 90))
        assert 10 * np.log10(255**2 / np.mean((raw - jpeg) ** 2)) >= LEAST_DB


@pytest.mark.parametrize("image", [None, {}, {"transform": "stretched", "size": 96}, {"transform": native.TRANSFORM}])
def test_a_server_that_names_no_known_size_is_sent_whole_pictures(local, monkeypatch, image):
    facts = native._facts
    monkeypatch.setattr(
        native,
        "_facts",
        lambda *args: (
            {k: v for k, v in facts(*args).items() if k != "image"} | ({} if image is None else {"image": image})
        ),
    )
    policy, obs = Seeing(local), with_pictures(local, (48, 64))
    with Served(policy, FR3) as served:
        RemotePolicy(served.url, FR3, deadline_s=20).get_action(obs)
    assert policy.seen[f"video.{local.views[0]}"].shape == (1, 48, 64, 3)


@pytest.mark.parametrize("size", [-1, 10**9, "96", True, None, 1.5])
def test_a_size_that_makes_no_sense_is_told(local, monkeypatch, size):
    facts = native._facts
    image = {"transform": native.TRANSFORM, "size": size}
    monkeypatch.setattr(native, "_facts", lambda *args: facts(*args) | {"image": image})
    with Served(local, FR3) as served, pytest.raises(BeingHError, match="answers nonsense"):
        RemotePolicy(served.url, FR3)


@pytest.mark.parametrize(
    "change",
    [
        {"video.scene_view": np.zeros((1, 1, 60_000, 3), np.uint8)},
        {"video.scene_view": np.zeros((1, 1080, 1920, 3), np.float32)},
        {"video.scene_view": [[1], [1, 2]]},
        {"language.instruction": "x" * 200_000},
        {"language.instruction": "a\nb"},
    ],
    ids=lambda change: "-".join(change),
)
def test_what_would_be_too_long_is_refused_here_in_the_policys_words(local, change):
    (name,) = change
    policy = Seeing(local)
    with Served(policy, FR3) as served:
        remote = RemotePolicy(served.url, FR3, deadline_s=20)
        with pytest.raises(BeingHError) as here:
            remote.get_action(observation(local) | change)
        with pytest.raises(BeingHError) as there:
            local.get_action(observation(local) | change)
        assert str(here.value) == str(there.value) and name in str(here.value)
        with pytest.raises(BeingHError, match="instruction"):
            remote.check_instruction("a\x1b")
        assert policy.calls == 0
        remote.get_action(observation(local))
