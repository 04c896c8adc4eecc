"""Writes a bag for ever, telling each message that the writer has taken; the parent kills it, or the disk ends it."""

import resource
import sys
from pathlib import Path

from bag_support import sequence, write

from beingh_core.data.bags import BagWriter

path, storage, most_bytes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
writer = BagWriter(path, storage=storage, reserve_bytes=1 << 16)
if most_bytes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


def told():
    for index, message in enumerate(sequence(10_000_000)):
        yield message
        if index % 20 == 0:
            print(index, flush=True)


try:
    write(writer, told(), flush_every=50)
except OSError as error:
    print("failed", error, flush=True)
    print("reason", writer.close(f"the disk failed: {error}"), "lost", sum(writer.lost.values()), flush=True)
