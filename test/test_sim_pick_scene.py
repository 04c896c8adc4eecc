"""The scenes that the committed checkpoint was trained on: other tasks may add things to their own, and to these nothing."""

import numpy as np
import pytest

from beingh_core.contract import load_contract
from beingh_core.sim import SimRobot
from beingh_core.sim.pictures import Pictures
from beingh_core.sim.scene import sample_cubes
from beingh_core.tasks import PICK, PUT

# Of the simulator that recorded the dataset of checkpoints/fr3_cubes, contract fr3, seed 7: x, y [m] and turn [rad] of each cube, and
# the mean red, green and blue of the 4 x 4 parts of each view.
CUBES = {"red": (0.40105, 0.09637, -0.1226), "green": (0.55941, -0.00962, -0.0275), "blue": (0.46061, -0.06647, 0.0023)}
MEANS = {
    "scene_view": (
        (132, 132, 130, 113, 110, 106, 112, 109, 105, 132, 132, 130),
        (183, 167, 147, 176, 162, 150, 182, 154, 135, 183, 167, 147),
        (183, 167, 147, 161, 158, 135, 177, 166, 143, 183, 167, 147),
        (183, 167, 147, 183, 167, 147, 183, 167, 147, 183, 167, 147),
    ),
    "wrist_view": (
        (189, 174, 153, 189, 174, 153, 189, 174, 153, 189, 174, 153),
        (189, 174, 153, 184, 174, 150, 175, 172, 144, 189, 174, 153),
        (189, 174, 153, 189, 157, 139, 175, 164, 157, 189, 174, 153),
        (99, 92, 81, 189, 174, 153, 189, 174, 153, 98, 91, 81),
    ),
}
SEED, LEVELS = 7, 2.0  # renderers differ by less


def off(robot):
    """View -> the largest difference to `MEANS` at the beginning of the scene."""
    pictures, found = Pictures(robot.model), {}
    for name, view in robot.views.items():
        image = pictures.colour(robot.data, view).astype(float)
        means = image.reshape(4, len(image) // 4, 4, image.shape[1] // 4, 3).mean((1, 3))
        found[name] = float(np.abs(means.reshape(4, 12) - np.array(MEANS[name])).max())
    pictures.close()
    return found


@pytest.fixture(scope="module")
def robot():
    made = SimRobot.of(load_contract("fr3"))
    yield made
    made.close()


def test_a_pick_begins_as_it_was_recorded(robot):
    robot.reset(SEED)
    for name, (place, turn) in robot.objects().items():
        yaw = 2.0 * np.arctan2(turn[3], turn[0])
        np.testing.assert_allclose((*place[:2], yaw), CUBES[name], atol=1e-4)
    assert max(off(robot).values()) < LEVELS, off(robot)


def test_places_of_a_pick_are_the_only_draws_of_its_seed(robot):
    for seed in range(5):
        robot.reset(seed)
        drawn = sample_cubes(np.random.default_rng(seed), robot.layout)
        for name, (place, _) in drawn.items():
            np.testing.assert_allclose(robot.data.body(f"cube_{name}").xpos, place, atol=1e-12)
    named = [robot.model.body(body).name for body in range(robot.model.nbody)]
    assert not robot.things() and not [name for name in named if name.startswith("thing")]


def test_a_bowl_is_where_it_is_asked_for_and_is_seen():
    asked = SimRobot.of(load_contract("fr3"), tasks=(PICK, PUT))
    asked.reset(SEED)
    assert set(asked.things()) == {"bowl"} and max(off(asked).values()) > 2.0 * LEVELS
    asked.close()
