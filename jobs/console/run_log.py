"""Keep the messages of a command beside the run that it works on, as JSON lines.

A cluster forgets the standard error of a job; ``RUN/logs/`` has one file per command, named by the
time of its start, with the fields of ``--log-format json``.
"""

import contextlib
import logging
import threading
import traceback
import uuid
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from jobs.console.logs import JsonFormatter
from scanner.errors import UserError
from scanner.run import Run

log = logging.getLogger("memscan")

FOLDER = "logs"
SAVE_SECONDS = 30.0
# Of each file: its first lines and, behind a line that says how many are missing, its last ones.
FIRST_BYTES = LAST_BYTES = 1 << 19
FILES = 100


@contextlib.contextmanager
def messages_kept(run: Run) -> Iterator[None]:
    """Write the messages of ``memscan`` to ``RUN/logs`` every half a minute and at the end.

    The FILES newest files stay. An error that ends the command is the last line. A store that
    refuses the file is a warning. Nothing is written before there is a run.
    """
    handler = _Keeper(run)
    logger = logging.getLogger("memscan")
    logger.addHandler(handler)
    try:
        with handler.saving():
            try:
                yield
            except BaseException as error:
                handler.keep_error(error)
                raise
    finally:
        logger.removeHandler(handler)


class _Keeper(logging.Handler):
    """Collects lines, of which it drops those in the middle, and saves them from a thread."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.run = run
        began = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        self.file = f"{FOLDER}/{began}-{uuid.uuid4().hex[:6]}.jsonl"
        self._first: list[bytes] = []
        self._last: deque[bytes] = deque()
        self._bytes = [0, 0]
        self._dropped = 0
        self._is_saved = True
        self._has_failed = False

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record).encode() + b"\n"
        self._is_saved = False
        if not self._last and self._bytes[0] + len(line) <= FIRST_BYTES:
            self._first.append(line)
            self._bytes[0] += len(line)
            return
        self._last.append(line)
        self._bytes[1] += len(line)
        while self._bytes[1] > LAST_BYTES:
            self._bytes[1] -= len(self._last.popleft())
            self._dropped += 1

    def keep_error(self, error: BaseException) -> None:
        """Add what ends the command; its message reaches standard error later than this."""
        if isinstance(error, KeyboardInterrupt):
            text = "stopped"
        elif isinstance(error, UserError):
            text = str(error)
        else:
            text = "".join(traceback.format_exception(error))
        self.handle(log.makeRecord("memscan", logging.ERROR, "", 0, text, (), None))

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        ended = threading.Event()

        def save_now_and_then() -> None:
            while not ended.wait(SAVE_SECONDS):
                self._save()

        thread = threading.Thread(target=save_now_and_then, daemon=True, name="run log")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._save()
            self._remove_oldest()

    def _save(self) -> None:
        with self.lock or contextlib.nullcontext():
            if self._is_saved:
                return
            missing = f'{{"level": "info", "message": "… {self._dropped:,} lines left out"}}\n'
            middle = [missing.encode()] if self._dropped else []
            data = b"".join([*self._first, *middle, *self._last])
            self._is_saved = True
        try:
            if self.run.store.exists("run.json"):
                self.run.store.write(self.file, data)
        except Exception as error:  # s3fs and botocore raise many kinds
            self._is_saved = False  # tried again later
            self._warn(error)

    def _remove_oldest(self) -> None:
        try:
            for name in self.run.store.names(FOLDER)[:-FILES]:
                self.run.store.remove(name)
        except Exception as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._has_failed:
            self._has_failed = True
            log.warning(f"the messages of this command cannot be kept in {self.file}: {error}")
