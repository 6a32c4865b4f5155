"""What is forked is as good as a process of its own."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.forking import FORKED, READ_AT_IMPORT, forked_session, forking_python
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_a_fork_has_its_own_arguments_files_and_status(tmp_path: Path) -> None:
    command = [forking_python(), "-m", "jobs.cli", "status", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "nowhere" in done.stderr
    command = [forking_python(), "-m", "jobs.cli", "rank", "--help"]
    assert "usage: memscan rank" in subprocess.check_output(command, text=True)


def test_anything_else_is_run_by_python_itself() -> None:
    code = "import sys; print('torch' in sys.modules); sys.exit(3)"
    done = subprocess.run(
        [forking_python(), "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "False\n")


def test_marked_code_is_run_by_a_fork_that_gets_signals(tmp_path: Path) -> None:
    code = f"""{FORKED}
import os, pathlib, sys, time
assert "torch" in sys.modules and sys.argv == ["-c", "word"] and __name__ == "__main__"
pathlib.Path("session").write_text(str(os.getsid(0)))
os.rename("session", "ready")
try:
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(7)
"""
    words = [forking_python(), "-c", code, "word"]
    client = subprocess.Popen(words, cwd=tmp_path, env=_environment())
    ready = tmp_path / "ready"
    wait_until(lambda: ready.exists() or client.poll() is not None, "the fork does not start")
    assert forked_session(client.pid) == int(ready.read_text()) != client.pid
    client.send_signal(signal.SIGINT)
    assert client.wait(timeout=120) == 7


def test_a_fork_ends_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('pid').write_text(str(os.getpid()))\n"
        "os.rename('pid', 'ready')\n"
        "time.sleep(600)\n"
    )
    changed = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONBREAKPOINT": "ray"}
    environment = {**_environment(), **changed}  # as torch.compile and ray.init leave it
    client = subprocess.Popen([forking_python(), str(script)], cwd=tmp_path, env=environment)
    ready = tmp_path / "ready"
    wait_until(ready.exists, "the fork does not start")
    fork = int(ready.read_text())
    assert fork != client.pid
    client.send_signal(signal.SIGKILL)
    client.wait()
    wait_until(lambda: not _is_running(fork), "the fork goes on")


def _environment() -> dict[str, str]:
    """That of the server, whatever other tests have left in this process's."""
    about = json.loads(Path(forking_python()).with_name("about.json").read_text())
    others = {
        name: value for name, value in os.environ.items() if not name.startswith(READ_AT_IMPORT)
    }
    return {**others, **about["environment"]}


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
