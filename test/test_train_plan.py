"""The plan of packs: every row once a round, weights kept, budgets kept, the same whoever asks and whenever it goes on."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from train_support import LENGTHS, H, config_of, opened, picture, task_of, write

from beingh_core.errors import BeingHError
from beingh_core.policy.image import eval_transform
from beingh_core.policy.observations import named_observation
from beingh_core.policy.steps import PolicySteps
from beingh_core.train.loader import load_packs
from beingh_core.train.plan import HELD_OUT, Pack, Plan
from beingh_core.train.samples import SampleMaker, normalised

ROWS = sum(LENGTHS)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    return write(tmp_path_factory.mktemp("cubes") / "cubes")


@pytest.fixture(scope="module")
def lids(tmp_path_factory):
    return write(tmp_path_factory.mktemp("lids") / "lids", lengths=(30, 12), first=1, version="v2.1")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def both(cubes, lids, cache):
    return opened(config_of(cubes, lids), cache)


def plan_of(sources, config=None, part="train", seed=0, **data):
    config = config or config_of("x")
    return Plan(sources, config.data.model_copy(update=data), config.packing, seed, part)


def rows_of(packs):
    return [sample for pack in packs for sample in pack.samples]


def test_every_row_is_taught_once_a_round(cubes, cache):
    sources, _ = opened(config_of(cubes), cache)
    plan = plan_of(sources)
    drawn = Counter()
    while min([drawn[0, row] for row in range(ROWS)]) < 3:
        drawn.update(plan.next().samples)
    waiting = Counter(tuple(sample[:2]) for sample in plan.state()["pending"])
    assert set((drawn + waiting).values()) <= {3, 4} and set(drawn) == {(0, row) for row in range(ROWS)}


def test_runs_are_neighbours_and_rounds_differ(cubes, cache):
    sources, _ = opened(config_of(cubes), cache)
    plan = plan_of(sources, run_length=5)
    stock = plan.stocks[0]
    assert stock.counts.tolist() == [5, 4, 5, 5, 5, 5, 3, 5, 5, 4, 5, 1]
    starts = set(sources[0].table.starts.tolist())
    for first, count in zip(stock.firsts, stock.counts):
        assert not any(first < start < first + count for start in starts)
    orders = []
    for _ in range(2):
        orders.append(plan._order(0).tolist())
        plan._rounds[0] += 1
    assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]


def test_packs_keep_the_budget_and_starve_nobody(both):
    sources, _ = both
    config = config_of("x")
    plan, ages = plan_of(sources), Counter()
    lengths = [source.tokens for source in sources]
    for _ in range(60):
        pack = plan.next()
        tokens = [int(lengths[which][sources[which].table.task[row]]) for which, row in pack.samples]
        assert 0 < sum(tokens) <= config.packing.max_tokens
        assert sum(tokens) - tokens[-1] < config.packing.expected_tokens
        ages[len(tokens)] += 1
    assert len({int(n) for source in lengths for n in source}) > 1 and len(ages) > 1


def test_a_plan_goes_on_where_it_stood(both):
    sources, _ = both
    plan = plan_of(sources)
    for _ in range(7):
        plan.next()
    state = copy.deepcopy(plan.state())
    later = [plan.next() for _ in range(30)]
    other = plan_of(sources)
    other.go_on(state)
    assert [other.next() for _ in range(30)] == later
    assert other.account() == plan.account()


@pytest.mark.parametrize("change", ({"run_length": 3}, {"measure": "hours"}, {"held_out": 0.3}))
def test_a_plan_of_other_settings_does_not_go_on(both, change):
    with pytest.raises(BeingHError, match="no longer those of the run"):
        plan_of(both[0], **change).go_on(plan_of(both[0]).state())
    with pytest.raises(BeingHError, match="no longer those of the run"):
        plan_of(both[0], seed=1).go_on(plan_of(both[0]).state())


def test_ranks_share_the_packs_out_and_another_number_goes_on(both):
    sources, prompts = both
    config = config_of("x")
    make_plan, maker = lambda: plan_of(sources), lambda: SampleMaker(sources, prompts, config.data, 0)
    alone = [m.number for m in load_packs(make_plan, maker, most=12)]
    assert alone == list(range(12))
    for ranks in (2, 3):
        parts = [[m.number for m in load_packs(make_plan, maker, rank=r, ranks=ranks, most=12)] for r in range(ranks)]
        assert [parts[n % ranks][n // ranks] for n in range(12)] == alone
    plan = plan_of(sources)
    expected = [plan.next() for _ in range(12)]
    state = plan_of(sources)
    for _ in range(4):
        state.next()
    after = [
        {m.number: list(zip(m.sources, m.rows)) for m in load_packs(make_plan, maker, state=state.state(), rank=r, ranks=3, most=8)}
        for r in range(3)
    ]  # fmt: skip
    joined = {number: rows for part in after for number, rows in part.items()}
    assert joined == {pack.number: list(pack.samples) for pack in expected[4:]}


def test_workers_make_the_same_packs_as_one_process(both):
    sources, prompts = both
    config = config_of(
        "x", data={"datasets": [{"path": "x", "robot": "fr3"}], "view_dropout": 0.3, "state_dropout": 0.3}
    )
    make_plan, maker = lambda: plan_of(sources), lambda: SampleMaker(sources, prompts, config.data, 0)
    for one, other in zip(
        load_packs(make_plan, maker, most=5), load_packs(make_plan, maker, workers=2, most=5), strict=True
    ):
        assert one.number == other.number and one.batch.keys() == other.batch.keys()
        for key, value in one.batch.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.batch[key])), key


def test_weights_are_kept_in_what_they_count(cubes, lids, cache):
    entries = [{"path": str(cubes), "robot": "fr3", "group": "a"}, {"path": str(lids), "robot": "fr3", "group": "b"}]
    for measure in ("samples", "hours", "tokens"):
        config = config_of("x", data={"datasets": entries, "group_weights": {"a": 3.0, "b": 1.0}, "measure": measure})
        plan = plan_of(opened(config, cache)[0], config)
        for _ in range(300):
            plan.next()
        account = plan.account()
        assert [one["wanted"] for one in account] == [0.75, 0.25]
        assert [one["share"] for one in account] == pytest.approx([0.75, 0.25], abs=0.005)


def test_without_weights_datasets_count_as_much_as_they_hold(both):
    plan = plan_of(both[0])
    assert plan.shares == pytest.approx([ROWS / (ROWS + 42), 42 / (ROWS + 42)])


def test_held_out_episodes_are_never_taught(both):
    sources, _ = both
    plans = [plan_of(sources, part=part, held_out=0.4) for part in ("train", HELD_OUT)]
    taught, held = (set(rows_of(plan.next() for _ in range(80))) for plan in plans)
    assert taught and held and not taught & held
    assert len(taught | held) == ROWS + 42
    episode = lambda which, row: np.searchsorted(sources[which].table.starts, row, side="right")
    assert not {(w, episode(w, r)) for w, r in taught} & {(w, episode(w, r)) for w, r in held}


def test_samples_that_are_too_long_are_left_out_and_counted(cubes, cache):
    sources, _ = opened(config_of(cubes), cache)
    short = int(sources[0].tokens.min())
    packing = {"expected_tokens": 500, "max_tokens": 600, "max_tokens_per_sample": short}
    config = config_of(cubes, packing=packing)
    plan = plan_of(sources, config)
    assert plan.account()[0]["left_out"] == LENGTHS[1] + LENGTHS[3]
    assert set(rows_of(plan.next() for _ in range(40))) == {(0, r) for r in [*range(9), *range(32, 46)]}
    with pytest.raises(BeingHError, match="no sample for train of at most 20 tokens"):
        plan_of(sources, config_of(cubes, packing={**packing, "max_tokens_per_sample": 20}))


def test_every_nth_row_can_be_left_out(cubes, cache):
    config = config_of("x", data={"datasets": [{"path": str(cubes), "robot": "fr3", "every": 5}]})
    sources, _ = opened(config, cache)
    plan = plan_of(sources, config)
    starts = sources[0].table.starts
    wanted = {(0, row) for first, last in zip(starts, starts[1:]) for row in range(first, last, 5)}
    assert set(rows_of(plan.next() for _ in range(40))) == wanted


def test_what_is_taught_is_what_the_policy_sees(both):
    """The same numbers, words and pixels as the live policy makes of the recorded observation."""
    sources, prompts = both
    made = SampleMaker(sources, prompts, config_of("x").data, 0, plain=True).make(
        Pack(number=0, samples=((0, 11), (1, 3)))
    )
    batch = normalised(made.batch, "cpu")
    source = sources[0]
    steps = PolicySteps(
        source.modality.config, SampleMaker(sources, prompts, config_of("x").data, 0).transform(0), prompts
    )
    from beingh_core.data.lerobot import Dataset

    dataset = Dataset(source.section.path)
    shown = {view: list(dataset.pictures(dataset.episodes[1], key))[2] for view, key in source.columns.views.items()}
    state = source.modality.parts("state", source.table.state[11])
    observation = named_observation(
        {v: i[None] for v, i in shown.items()}, {k: v[None] for k, v in state.items()}, task_of(1)
    )
    live = steps.encode(steps.check(observation))
    length = live["sequence_length"]
    assert batch["sample_lens"][0] == length
    for key in ("packed_text_ids", "packed_text_indexes", "packed_vit_token_indexes", "packed_action_indexes"):
        assert torch.equal(batch[key][: len(live[key])], live[key]), key
    torch.testing.assert_close(batch["padded_state"][:1], live["padded_state"], atol=1e-6, rtol=0)
    torch.testing.assert_close(batch["packed_vit_tokens"][:2], live["packed_vit_tokens"], atol=1e-6, rtol=0)
    torch.testing.assert_close(
        batch["packed_vit_tokens"][0], eval_transform(shown["scene_view"], 32), atol=1e-6, rtol=0
    )


def test_actions_are_those_of_the_next_rows_in_their_slots_and_the_rest_is_masked(both):
    sources, prompts = both
    maker = SampleMaker(sources, prompts, config_of("x").data, 0)
    made = maker.make(Pack(number=0, samples=((0, 9), (0, 44))))  # the second is the last row but one of its episode
    actions = made.batch["padded_action"].view(2, H, 200).double().numpy()
    mask = made.batch["padded_action_mask"].view(2, H, 200).numpy()
    assert (np.flatnonzero(mask.any((0, 1))) == [0, 1, 2, 18]).all() and mask[:, :, [0, 1, 2, 18]].all()
    back = maker.transform(0).action_from_unified(actions)
    recorded = sources[0].table.action
    np.testing.assert_allclose(back["eef_position"][0], recorded[9 : 9 + H, :3], atol=1e-6)
    np.testing.assert_allclose(back["eef_position"][1][:2], recorded[44:46, :3], atol=1e-6)
    assert abs(back["eef_position"][1][2:]).max() < 1e-6  # no step, though 0 is not the middle of what is normal
    np.testing.assert_array_equal(back["gripper_position"][1][1:, 0], recorded[45, 3])


def test_dropout_hides_states_and_views_but_never_all_of_them(both):
    sources, prompts = both
    data = config_of("x").data.model_copy(update={"state_dropout": 0.5, "view_dropout": 0.9})
    pack = Pack(number=3, samples=tuple((0, row) for row in range(30)))
    batch = SampleMaker(sources, prompts, data, 0).make(pack).batch
    hidden = ~batch["packed_vit_tokens"].bool().flatten(1).any(1).view(30, 2)
    assert 20 <= hidden.any(1).sum() and not hidden.all(1).any()
    assert 5 <= (~batch["padded_state"].any(1)).sum() <= 25
    plain = SampleMaker(sources, prompts, data, 0, plain=True).make(pack).batch
    assert plain["packed_vit_tokens"].bool().flatten(1).any(1).all() and plain["padded_state"].any(1).all()


def test_a_video_that_breaks_is_left_out_by_name_and_the_rest_is_taught(tmp_path):
    root = write(tmp_path / "d", version="v2.1")
    sources, prompts = opened(config_of(root), tmp_path / "cache")
    segment = sources[0].videos[1]["wrist_view"]
    segment.path.write_bytes(segment.path.read_bytes()[:900])
    maker = SampleMaker(sources, prompts, config_of(root).data, 0)
    made = maker.make(Pack(number=0, samples=((0, 2), (0, 10), (0, 40), (0, 12))))
    assert made.rows.tolist() == [2, 40] and len(made.batch["padded_state"]) == 2
    [((title, why), count)] = made.left_out.items()
    assert title == "d" and why.startswith("episode 1: ") and count == 2
    empty = maker.make(Pack(number=1, samples=((0, 10),)))
    assert empty.batch is None and empty.left_out.total() == 1


def test_pictures_are_those_of_the_rows(both):
    sources, prompts = both
    samples = ((1, 35), (0, 3), (1, 2), (1, 36))
    batch = (
        SampleMaker(sources, prompts, config_of("x").data, 0, plain=True).make(Pack(number=0, samples=samples)).batch
    )
    blue = batch["packed_vit_tokens"].float().mean((2, 3))[:, 2].view(4, 2)
    for (which, row), seen in zip(samples, blue):
        table = sources[which].table
        at = int(np.searchsorted(table.starts, row, side="right")) - 1
        for view in (0, 1):
            shown = picture(view, at + which, row - int(table.starts[at]))
            assert abs(seen[view] - shown[0, 0, 2]) <= 3


def test_a_dataset_that_holds_nothing_out_is_not_drawn_from_whatever_its_weight(cubes, cache, tmp_path):
    """One episode is all taught, so there is none to hold out; its weight is that of teaching."""
    one = write(tmp_path / "one", lengths=(12,))
    entries = [{"path": str(cubes), "robot": "fr3"}, {"path": str(one), "name": "one", "robot": "fr3", "weight": 5.0}]
    entries[1]["group"] = "b"
    config = config_of("x", data={"datasets": entries, "group_weights": {"b": 3.0}, "held_out": 0.4})
    sources, _ = opened(config, tmp_path / "cache")
    plan = Plan(sources, config.data, config.packing, 0, HELD_OUT)
    assert plan.shares == [1.0, 0.0]
    assert {which for which, *_ in rows_of([plan.next() for _ in range(5)])} == {0}
