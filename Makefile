# make demo | demos | test | test-slow | mutants | bench | checkpoint | generalist | evidence | robosuite | viewer | clean; see README.md.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo demos test test-slow mutants bench checkpoint generalist evidence robosuite viewer environment clean help

PYTHON ?= python3
ROBOT ?= fr3
POLICY ?= auto
EPISODES ?= 3
SEED ?= 0
INSTRUCTION ?=
TASK ?= pick
CHECKPOINT ?=
VIEWER ?= none
RECORD ?=
OUT ?= out/demo
PYTEST_ARGS ?=
QUICK ?=
ONLY ?=
ROBOSUITE_PYTHON ?= python3.11
# Episodes that make checkpoint records; the SO-101's have twice the rows.
DEMONSTRATIONS ?= $(if $(filter so101,$(ROBOT)),600,1000)

# Robots that `make generalist` teaches, and how many episodes of each.
BODIES := fr3:200 so101_short:300 xarm7_eef:250 fr3_inspire_eef:250 g1_inspire_eef:250
PICKS := --instruction "pick up the {colour} cube" --instruction "grasp the {colour} cube" --instruction "lift the {colour} cube"
# What of a run makes a checkpoint of the package.
KEEP = mkdir -p "checkpoints/$(1)" && cp out/$(1)/last/{config,special_tokens_map,tokenizer,tokenizer_config,training,*_metadata}.json \
	out/$(1)/last/*.safetensors "checkpoints/$(1)/"

# A sourced ROS installation brings its own rclpy, which must not be mixed with the wheels: another environment.
ifdef ROS_DISTRO
VENV := .venv-$(ROS_DISTRO)
VENV_FLAGS := --system-site-packages
REQUIREMENTS := requirements-robot.txt
else
VENV := .venv
VENV_FLAGS :=
REQUIREMENTS := requirements.txt requirements-ros.txt
endif
STAMP := $(VENV)/.installed
READY := $(VENV)/.interfaces
RUN := $(VENV)/bin/python

export MUJOCO_GL ?= egl
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@echo "make demo        run EPISODES=3 episodes in simulation, write $(OUT)/report.html"
	@echo "                 ROBOT=so101  POLICY=expert  SEED=0  INSTRUCTION='pick up the red cube'  CHECKPOINT=DIR"
	@echo "                 TASK=put (or push)  VIEWER=rerun  OUT=DIR  RECORD=DIR"
	@echo "make demos       the demo of every robot, one after the other: out/demos/table.md and demos.png"
	@echo "make test        run the tests (PYTEST_ARGS='-k name')"
	@echo "make test-slow   run the thorough ones beside them"
	@echo "make mutants     break the code in small ways, one at a time: the tests must find each (4 minutes)"
	@echo "make bench       compare the software's speed with docs/bench_ratios.json; UPDATE=1 rewrites that file"
	@echo "make checkpoint  record demonstrations and train the demo's checkpoint (ROBOT=so101); goes on where it was interrupted"
	@echo "make generalist  record demonstrations of five robots and train the checkpoint that drives them all"
	@echo "make evidence    the paper's claims, played again from the committed checkpoints: out/evidence/evidence.html; QUICK=1: fewer episodes"
	@echo "make robosuite   an environment with robosuite's Lift, for \`beingh suite libero --suites robosuite_lift\` and its test"
	@echo "make clean       remove build files and the environment; out/ and checkpoints/ stay"

demo: $(READY)
	@$(RUN) -m beingh_ros.demo --robot "$(ROBOT)" --policy "$(POLICY)" --episodes "$(EPISODES)" --seed "$(SEED)" \
		--instruction "$(INSTRUCTION)" --task "$(TASK)" --checkpoint "$(CHECKPOINT)" --out "$(OUT)" --viewer "$(VIEWER)" --record "$(RECORD)"

demos: $(READY)
	@$(RUN) -m beingh_ros.demo --all --episodes "$(EPISODES)" --seed "$(SEED)" --out out/demos

# Two runs of pytest side by side: the tests that run nodes, and the rest.
test: $(READY)
	@$(RUN) test/side_by_side.py $(PYTEST_ARGS)

test-slow: $(READY)
	@$(RUN) -m pytest -q -m slow $(PYTEST_ARGS)

mutants: $(READY)
	@$(RUN) test/mutants/run.py

bench: $(STAMP)
	@mkdir -p out
	@$(RUN) -m beingh_core.cli bench ratios --json out/bench.json $(if $(UPDATE),--update)

# Scenes from 1000 on: those of `make demo` are never seen in training. Both steps go on where they were interrupted. A model this small trains fastest in one thread: two wait for each other at
# every layer; a second process makes its batches.
checkpoint: $(READY)
	@$(RUN) -m beingh_core.cli sim rollouts --robot "$(ROBOT)" --branches --noise 0.02 --crf 20 --episodes "$(DEMONSTRATIONS)" --seed 1000 \
		$(PICKS) --workers 0 --out "out/demonstrations/$(ROBOT)"
	@$(RUN) -m beingh_core.train --config "config/train/$(ROBOT)_cubes.yaml" --threads 1
	@$(call KEEP,$(ROBOT)_cubes)
	@echo "wrote checkpoints/$(ROBOT)_cubes; see it: make demo ROBOT=$(ROBOT) CHECKPOINT=checkpoints/$(ROBOT)_cubes"

generalist: $(READY)
	@for spec in $(BODIES); do \
		$(RUN) -m beingh_core.cli sim rollouts --robot "$${spec%%:*}" --branches --noise 0.02 --crf 20 --episodes "$${spec##*:}" --seed 1000 \
			$(PICKS) --workers 0 --out "out/demonstrations/bodies/$${spec%%:*}" || exit $$?; \
	done
	@$(RUN) -m beingh_core.train --config config/train/generalist.yaml --threads 1
	@$(call KEEP,generalist)
	@echo "wrote checkpoints/generalist; see it: make demo ROBOT=xarm7_eef CHECKPOINT=checkpoints/generalist"

evidence: $(READY)
	@$(RUN) -m beingh_core.cli evidence $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

# MuJoCo 2.3.7 has wheels up to Python 3.11, and the rest from there.
robosuite: .venv-robosuite/.installed

.venv-robosuite/.installed: requirements-robosuite.txt
	@test -x $(@D)/bin/python || $(ROBOSUITE_PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip install -q --no-deps -r $<
	@touch $@
	@echo "export BEINGH_ROBOSUITE_PYTHON=$(CURDIR)/$(@D)/bin/python"

viewer: $(READY)
	@$(RUN) -m pip install -q -r requirements-viewer.txt

environment: $(READY)

clean:
	rm -rf build install log $(VENV) .venv-robosuite .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './out/*' -prune -exec rm -rf {} +

# The package itself is linked: `beingh` is in $(VENV)/bin, and other programs of the environment can import it.
# torch comes first and alone, so that a CPU build of that very version is taken where pip knows one.
$(STAMP): requirements.txt requirements-ros.txt requirements-robot.txt setup.py
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo "installing into $(VENV)$(if $(ROS_DISTRO),: rclpy of ROS $(ROS_DISTRO) is sourced and will be used,) (once; some minutes)"
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	@$(RUN) -m pip install -q --upgrade "pip>=24"
	@$(RUN) -m pip install -q torch==2.13.0
	@$(RUN) -m pip install -q $(foreach file,$(REQUIREMENTS),-r $(file))
	@$(RUN) -m pip install -q --no-deps -e .
	@touch $@

# Messages of grippers, bases and vendors that no wheel brings; a ROS installation has them, or a workspace on it.
$(READY): $(STAMP) $(wildcard interfaces/*.py interfaces/*/*/*)
ifdef ROS_DISTRO
	@touch $@
else
	@$(RUN) interfaces/build.py --done $@
endif

define CHECK_PYTHON
import importlib.util, os, platform, sys
ros = os.environ.get('ROS_DISTRO')
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f'error: {sys.executable} is Python {platform.python_version()}; 3.10 to 3.13 work. '
             'To fix: make PYTHON=/path/to/python3.12 ...')
if ros and importlib.util.find_spec('rclpy') is None:
    sys.exit(f'error: ROS_DISTRO is {ros}, but {sys.executable} finds no rclpy. To fix: source /opt/ros/{ros}/setup.bash '
             'in this shell (and use its Python), or unset ROS_DISTRO to use the rclpy wheels.')
if not ros and (sys.platform, platform.machine()) != ('linux', 'x86_64'):
    sys.exit(f'error: the rclpy wheels exist for Linux on x86-64, not for {sys.platform} on {platform.machine()}. '
             'To fix: install ROS 2 Jazzy or Humble and source its setup.bash.')
endef
export CHECK_PYTHON
