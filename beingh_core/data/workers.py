"""Bags converted one after another, in processes of this machine, or on a Ray cluster: the same results in the same order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from beingh_core.data.convert import Converted, Export, Opener, convert
from beingh_core.data.lerobot.encoders import threads_for
from beingh_core.data.lerobot.schema import DatasetSpec
from beingh_core.errors import BeingHError
from beingh_core.interrupts import held_back

Result = Converted | BeingHError


def converted(
    bags: Sequence[Path], settings: Export, spec: DatasetSpec, opener: Opener, staging: Path
) -> Iterator[tuple[Path, Result]]:
    """Each bag with its pieces or why it is refused, in order; as many at a time as there are workers.

    Args:
        bags: Paths.
        settings, spec, opener: See `convert`.
        staging: New folder for complete episodes, which workers of a run that was killed cannot be in; all must see it.

    Raises:
        BeingHError: Something that concerns all bags: a full disk, a worker that was killed, no cluster.
    """
    if settings.ray:
        yield from _on_ray(bags, settings, spec, opener, staging)
        return
    processors = threads_for(())
    workers = min(settings.workers or processors, max(1, len(bags)))
    threads = threads_for(spec.cameras, max(1, processors // workers))
    rest = (settings, spec, opener, staging, threads)
    if workers == 1:
        for bag in bags:
            yield bag, _checked(attempt(bag, *rest))
        return
    with pool_of(workers) as pool:
        results = in_order(started(pool, attempt, ((bag, *rest) for bag in bags)), workers)
        yield from ((bag, _checked(result)) for bag, result in zip(bags, results))


@contextlib.contextmanager
def pool_of(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, and at once when it is interrupted.

    Raises:
        BeingHError: One of them was killed.
    """
    # `spawn`: encoder threads must not be forked, and each process needs an OpenGL context of its own.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            yield pool
        except (KeyboardInterrupt, GeneratorExit):
            for process in list(pool._processes.values()):  # which would finish their work first
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise
        except BrokenProcessPool:
            raise BeingHError(
                "a worker process was killed; every committed episode is intact",
                remedy="take fewer --workers if memory ran out, then run the same command again",
            ) from None


def started(pool: ProcessPoolExecutor, function: Callable, calls: Iterable[tuple]) -> Iterator[Callable[[], Any]]:
    """Starts a call of the function with each of the arguments when it is asked for; gives what waits for its result."""
    for arguments in calls:
        with held_back():  # this starts a worker
            future = pool.submit(function, *arguments)
        yield future.result


def in_order(calls: Iterable[Callable[[], Any]], ahead: int) -> Iterator[Any]:
    """Results in the order of calls that were started; bounds how many are under way, or complete and not taken."""
    running: deque[Callable[[], Any]] = deque()
    for get in calls:
        running.append(get)
        if len(running) > ahead:
            yield running.popleft()()
    for get in running:
        yield get()


def _end_with_parent() -> None:
    """A worker of a process that was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="watch parent", daemon=True).start()


def attempt(bag: Path, *rest: Any) -> Result:
    """`convert`, with the reason in place of an exception, which not every way between processes carries whole."""
    try:
        return convert(bag, *rest)
    except BeingHError as error:
        return error


def _checked(result: Result) -> Result:
    """Raises what concerns all bags."""
    if isinstance(result, BeingHError) and "disk is full" in result.what:
        raise result
    return result


def _on_ray(
    bags: Sequence[Path], settings: Export, spec: DatasetSpec, opener: Opener, staging: Path
) -> Iterator[tuple[Path, Result]]:
    """One task a bag, one processor a task; bags and `staging` are on a disk that all nodes share."""
    try:
        import ray
    except ImportError as error:
        raise BeingHError(
            f"--ray needs Ray ({error})", remedy='`pip install "ray[default]"`, here and on all nodes'
        ) from None
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(address=settings.ray, log_to_driver=False, configure_logging=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise BeingHError(
            f"there is no Ray cluster ({str(error).splitlines()[0]})",
            where=f"--ray {settings.ray}",
            remedy="start one with `ray start --head`, and give its address, HOST:6379, or `auto` on its own machines",
        ) from None
    try:
        workers = settings.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(num_cpus=1, max_retries=2)(_on_a_node)
        rest = (settings, spec, opener, staging.resolve(), threads_for(spec.cameras, 1))
        results = in_order((_ray_result(ray, task.remote(bag.resolve(), *rest)) for bag in bags), workers)
        yield from ((bag, _checked(result)) for bag, result in zip(bags, results))
    finally:
        if ours:
            ray.shutdown()


def _on_a_node(bag: Path, *rest: Any) -> Result:
    """`attempt` on another machine, which must see the same files."""
    staging = rest[3]
    if not staging.parent.parent.is_dir():
        return BeingHError("this node does not see the dataset's folder", where=staging.parent.parent,
                           remedy="give --out and the bags on a disk that all nodes share, under one path")  # fmt: skip
    return attempt(bag, *rest)


def _ray_result(ray: Any, reference: Any) -> Callable[[], Result]:
    def get() -> Result:
        try:
            return ray.get(reference)
        except ray.exceptions.RayError as error:
            cause = str(error).strip().splitlines()
            raise BeingHError(
                f"Ray could not run a task: {cause[-1] if cause else type(error).__name__}",
                remedy="install this package and its requirements on every node; what is committed is intact",
            ) from None

    return get
