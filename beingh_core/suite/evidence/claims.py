"""The experiments and the claims. Another suite is one entry in each list, and its rule in `rules`."""

from __future__ import annotations

from beingh_core.suite.evidence.claim import Claim, Experiment
from beingh_core.suite.evidence.rules import fails, kept, picks, smooth

PAPER = "Being-H0.5, arXiv 2601.12993"
FR3, GENERALIST = "checkpoints/fr3_cubes", "checkpoints/generalist"
# First scene of both: `make checkpoint` and `make generalist` record demonstrations in those from 0 and from 1000 on.
UNSEEN = "100000"
HALF_CHUNK = 8  # ticks, of the FR3's chunks of 16

LATENCY = Experiment(
    name="latency",
    arguments=("suite", "latency", "--robot", "fr3", "--checkpoint", FR3, "--seed", UNSEEN, "--workers", "0"),
    quick=("--delays", "0,4,8", "--methods", "uac,naive,waiting", "--episodes", "10"),
    full=(
        "--delays", "0,2,4,6,8,12", "--methods", "uac,naive,waiting,training_rtc,guided_rtc,ensembling",
        "--episodes", "100",
    ),
    checkpoints=(FR3,),
    minutes=(4.0, 180.0),
    pictures={"success.png": "Picks against the delay", "seam.png": "Jumps of the velocity at seams (dotted: inside)"},
)  # fmt: skip
BODIES = Experiment(
    name="bodies",
    arguments=(
        "suite", "bodies", "--checkpoint", GENERALIST, "--robots", "fr3,so101,xarm7_eef,fr3_inspire_eef,g1_inspire_eef",
        "--wrong-instruction", "--wrong-statistics", "--seed", UNSEEN, "--workers", "0",
    ),
    quick=("--episodes", "5"),
    full=("--episodes", "50"),
    checkpoints=(GENERALIST,),
    minutes=(12.0, 120.0),
    pictures={"bodies.png": "Told picks of one checkpoint"},
)  # fmt: skip
EXPERIMENTS = (LATENCY, BODIES)

CLAIMS = (
    Claim(
        claim="One checkpoint drives robots of different arms and hands.",
        source=f"{PAPER}, figure 1: one checkpoint on five platforms",
        test="Told picks with five simulated bodies in scenes that no demonstration had. Seen: 0.80 of the picks with every body.",
        experiment=BODIES,
        judge=picks,
    ),
    Claim(
        claim="What such a checkpoint does follows from the words that it is told.",
        source=f"{PAPER}, figure 6: vision and language condition the actions",
        test="Another cube is told than the one that is judged. Seen: fewer picks of the judged one, intervals apart, with every body.",
        experiment=BODIES,
        judge=fails("wrong_instruction"),
    ),
    Claim(
        claim="Shared slots have physical units, so each body needs its own statistics of them.",
        source=f"{PAPER}, figure 6: the unified state and action space",
        test="The same weights with another body's statistics. Seen: fewer picks, intervals apart, with every body that can be tried.",
        experiment=BODIES,
        judge=fails("wrong_statistics"),
    ),
    Claim(
        claim="With a committed prefix, the delay of inference costs no success.",
        source=f"{PAPER}, figure 7: universal asynchronous chunking",
        test="Told picks with the FR3, in scenes that no demonstration had, under delays of up to half a chunk. Seen: at the worst delay 0.9 of the share without one.",
        experiment=LATENCY,
        judge=kept(HALF_CHUNK),
    ),
    Claim(
        claim="New chunks replace only what has not been committed, without a stutter.",
        source=f"{PAPER}, figure 8: the buffer between two threads",
        test="The same episodes. Seen: at taught delays seams jump no more than chunks do inside.",
        experiment=LATENCY,
        judge=smooth,
    ),
    Claim(
        claim="98.9 % on LIBERO as a specialist, 97.6 % as a generalist; 53.9 % on RoboCasa.",
        source=f"{PAPER}, its tables of LIBERO and RoboCasa",
        test="`beingh suite libero --policy CHECKPOINT` plays LIBERO's tasks: docs/libero.md.",
        reason="the released weights of 2 billion parameters are not at hand, nor are RoboCasa's assets on PyPI",
    ),
    Claim(
        claim="The same checkpoint works on five real robots.",
        source=f"{PAPER}, figure 10",
        test="None.",
        reason="no physical robot is at hand",
    ),
)  # fmt: skip
