"""The experiments and the claims. Another suite is one entry in each list, and its rule in `rules` or `paired_rules`."""

from __future__ import annotations

from beingh_core.suite.evidence.claim import Claim, Experiment
from beingh_core.suite.evidence.paired_rules import few_steps, frozen, gated, pretrained, undisturbed
from beingh_core.suite.evidence.rules import fails, kept, picks, smooth

PAPER = "Being-H0.5, arXiv 2601.12993"
FR3, GENERALIST = "checkpoints/fr3_cubes", "checkpoints/generalist"
# First scene of both: `make checkpoint` and `make generalist` record demonstrations in those from 0 and from 1000 on.
UNSEEN = "100000"
HALF_CHUNK = 8  # ticks, of the FR3's chunks of 16
FEW_STEPS = 4  # the released default
# What a new body starts from, beside nothing; and how many of the four act layers stay as they were.
STARTS, DEPTHS, HALF_FROZEN = ("generalist", "fr3"), (0, 1, 2, 3, 4), 2

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
        "suite", "bodies", "--checkpoint", GENERALIST, "--robots", "fr3,so101_short,xarm7_eef,fr3_inspire_eef,g1_inspire_eef",
        "--wrong-instruction", "--wrong-statistics", "--seed", UNSEEN, "--workers", "0",
    ),
    quick=("--episodes", "5"),
    full=("--episodes", "50"),
    checkpoints=(GENERALIST,),
    minutes=(12.0, 120.0),
    pictures={"bodies.png": "Told picks of one checkpoint"},
)  # fmt: skip
SHIFT = Experiment(
    name="shift",
    arguments=(
        "suite", "shift", "--robot", "fr3", "--checkpoint", FR3, "--steps", str(FEW_STEPS), "--seed", UNSEEN, "--workers", "0",
    ),
    quick=("--mpg", "1,2,3", "--shifts", "none,brightness:0.5,occlusion:0.2,offset:0.01", "--episodes", "20"),
    full=(
        "--mpg", "off,1,2,3", "--shifts", "none,brightness:0.5,brightness:1.4,noise:40,occlusion:0.2,offset:0.01,frozen:2",
        "--episodes", "50",
    ),
    checkpoints=(FR3,),
    minutes=(9.0, 60.0),
    pictures={"success.png": "Picks under shifted pictures", "gate.png": "MPG's gate under shifted pictures"},
)  # fmt: skip
STEPS = Experiment(
    name="steps",
    arguments=(
        "suite", "shift", "--robot", "fr3", "--checkpoint", FR3, "--mpg", "1", "--shifts", "none", "--seed", UNSEEN, "--workers", "0",
    ),
    quick=("--steps", f"{FEW_STEPS},8", "--episodes", "36"),
    full=("--steps", f"1,2,{FEW_STEPS},8", "--episodes", "100"),
    checkpoints=(FR3,),
    minutes=(2.0, 10.0),
    pictures={"success.png": "Picks against the Euler steps"},
)  # fmt: skip
SLOTS = Experiment(
    name="slots",
    arguments=(
        "suite", "slots", "--parts", "inactive", "--robots", "fr3", "--checkpoint", FR3, "--seed", UNSEEN, "--workers", "0",
    ),
    quick=("--episodes", "36"),
    full=("--episodes", "100"),
    checkpoints=(FR3,),
    minutes=(3.0, 8.0),
)  # fmt: skip
FEWSHOT = Experiment(
    name="fewshot",
    arguments=(
        "suite", "fewshot", "--robot", "ur5e_2f85_eef", "--from", f"{STARTS[0]}={GENERALIST}", "--from", f"{STARTS[1]}={FR3}",
        "--from", "nothing", "--seed", UNSEEN, "--workers", "0",
    ),
    quick=None,
    full=("--demonstrations", "5", "--steps", "500", "--freeze", ",".join(map(str, DEPTHS)), "--episodes", "50"),
    checkpoints=(GENERALIST, FR3),
    minutes=(0.0, 240.0),
    pictures={"success.png": "Picks of a new body against the frozen layers"},
)  # fmt: skip
EXPERIMENTS = (LATENCY, BODIES, SHIFT, STEPS, SLOTS, FEWSHOT)

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
        claim="Manifold-preserving gating keeps actions good when what is seen has shifted.",
        source=f"{PAPER}, abstract and section 3.4",
        test="Told picks with the FR3 under shifted pictures, by the number of gated passes. Seen: 2 or 3 passes pick more than 1 under shifts, paired interval above 0. Not seen: both end below +0.10. Without the gate is no fair comparison: the checkpoint was trained with it in every sample, so that its plain pass alone was never taught to act; one that was trained without is not at hand.",
        experiment=SHIFT,
        judge=gated,
    ),
    Claim(
        claim="A few Euler steps of the flow suffice.",
        source=f"{PAPER}; the released default is {FEW_STEPS}",
        test=f"Told picks with the FR3, no shift, one gated pass. Seen: {FEW_STEPS} steps pick as many as 8, the paired interval above -0.10. Not seen: fewer, the interval below 0.",
        experiment=STEPS,
        judge=few_steps(FEW_STEPS),
    ),
    Claim(
        claim="Slots that a body does not have do not disturb those that it has.",
        source=f"{PAPER}, figure 6: the unified state and action space",
        test="Told picks with the FR3, its unused slots moved by the model's untrained velocity as released, and along their exact path. Seen: a difference below 0.10 either way by its paired interval. Not seen: more or fewer picks, the interval on one side of 0.",
        experiment=SLOTS,
        judge=undisturbed,
    ),
    Claim(
        claim="After training on other bodies, a few demonstrations of a new one suffice.",
        source=f"{PAPER}, abstract and figure 12",
        test="The UR5e learns from 5 demonstrations, from a checkpoint of five other bodies, from one of the FR3 alone, and from nothing, in the same number of steps. Seen: one start picks 0.50 of the cubes and more than nothing does, paired interval above 0. Not seen: each start falls short of 0.50 by its interval, or its difference ends at +0.10 or below.",
        experiment=FEWSHOT,
        judge=pretrained(STARTS),
    ),
    Claim(
        claim="What other bodies taught the lower act layers serves a new body as it is.",
        source=f"{PAPER}, figure 12: depth of freezing",
        test=f"The same trainings with the lowest act layers frozen. Seen: with {HALF_FROZEN} of 4 frozen, a start that picks 0.50 with none picks as many, the paired interval above -0.10. Not seen: all such starts pick fewer, the interval below 0.",
        experiment=FEWSHOT,
        judge=frozen(STARTS, DEPTHS, HALF_FROZEN),
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
