"""Where replications run: processes of this machine, or a Dask cluster, by one word."""

from __future__ import annotations

import importlib
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from joblib import Parallel, delayed, parallel_config

from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    T = TypeVar("T")

HERE = ""
"""The cluster that is none: processes of this machine."""
CONNECT_S = 20


class Workers:
    """Somebody to hand work to."""

    def __init__(self, count: int) -> None:
        """Work on ``count`` things at once; 1 works in this very process."""
        self.count = count

    def map(
        self,
        work: Callable[..., T],
        arguments: Sequence[tuple[Any, ...]],
        progress: Callable[[int], None] | None = None,
    ) -> list[T]:
        """``work(*a)`` for every ``a``, in their order; ``progress`` hears how many are done.

        A worker that dies takes nothing with it: what it had not handed in is done again by
        another, and every place in the result is filled once.
        """
        found: list[T] = []
        with warnings.catch_warnings():
            # Joblib renews a worker whose memory has grown and says so; nothing is lost by it.
            warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
            self._collect(work, arguments, progress, found)
        return found

    def _collect(
        self,
        work: Callable[..., T],
        arguments: Sequence[tuple[Any, ...]],
        progress: Callable[[int], None] | None,
        found: list[T],
    ) -> None:
        tasks = (delayed(work)(*each) for each in arguments)
        for one in Parallel(n_jobs=self.count, return_as="generator", batch_size=1)(tasks):
            found.append(one)
            if progress is not None:
                progress(len(found))


@contextmanager
def workers(cluster: str = HERE, count: int | None = None) -> Iterator[Workers]:
    """``count`` processes here (all cores if not given), or those of ``cluster``.

    ``cluster`` is ``local:N`` for N processes under a scheduler of their own, or the address of a
    scheduler that runs, ``tcp://host:port``. Raises UsageError if there is no such cluster.
    """
    if cluster == HERE:
        yield Workers(count or os.cpu_count() or 1)
        return
    with _client(cluster) as client, parallel_config(backend="dask", client=client):
        yield Workers(-1)


@contextmanager
def _client(cluster: str) -> Iterator[Any]:
    try:
        # An extra that most installations do without; Dask's clients carry no annotations.
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        message = f"--cluster {cluster!r}: needs Dask; install the extra fewseconds[cluster]"
        raise UsageError(message) from None
    kind, _, rest = cluster.partition(":")
    if kind == "local":
        if not rest.isdigit() or int(rest) < 1:
            message = f"--cluster {cluster!r}: no number of processes; write local:2"
            raise UsageError(message)
        # Processes, because a walk holds the interpreter. A free port, because Dask's own (8787) is
        # busy as soon as two of these run side by side.
        with (
            distributed.LocalCluster(
                n_workers=int(rest),
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
            ) as local,
            distributed.Client(local) as client,
        ):
            yield client
        return
    if kind not in ("tcp", "tls"):
        message = f"--cluster {cluster!r}: not understood; write local:2 or tcp://host:port"
        raise UsageError(message)
    try:
        client = distributed.Client(cluster, timeout=CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        message = f"--cluster {cluster!r}: no scheduler answers ({error}); start `dask scheduler`"
        raise UsageError(message) from None
    with client:
        yield client
