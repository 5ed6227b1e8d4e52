"""The .proto files: what is generated of them is theirs, they are clean, and what was released still holds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTO, GENERATED = ROOT / "runtime" / "rpc" / "proto", ROOT / "runtime" / "rpc" / "generated"
RELEASED = Path(__file__).parent / "released.binpb"
BUF = Path(sys.executable).parent / "buf"


def buf(*arguments, folder=PROTO):
    return subprocess.run(
        [str(BUF), *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_what_is_generated_is_of_these_files(tmp_path):
    made = subprocess.run(
        ["make", "proto", f"GENERATED={tmp_path}", f"VENV={Path(sys.executable).parents[1]}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert made.returncode == 0, made.stdout + made.stderr
    files = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2.py*")}
    kept = {path.relative_to(GENERATED): path.read_text() for path in GENERATED.rglob("*_pb2.py*")}
    assert files == kept, "run `make proto`"


def test_buf_finds_nothing():
    for arguments in (("lint",), ("breaking", "--against", str(RELEASED))):
        found = buf(*arguments)
        assert (found.returncode, found.stdout) == (0, ""), arguments


@pytest.mark.parametrize(
    ("change", "into"),
    [("string type = 1;", "string type = 21;"), ("JOB_STATUS_FAILED = 4;", "JOB_STATUS_FAILED = 14;")],
)
def test_a_change_that_breaks_clients_is_noticed(tmp_path, change, into):
    shutil.copytree(PROTO, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "lanework" / "v1" / "jobs.proto"
    file.write_text(file.read_text().replace(change, into, 1))

    assert buf("breaking", "--against", str(RELEASED), folder=tmp_path).returncode != 0


def test_the_messages_of_go_job_queue_have_its_numbers():
    text = (PROTO / "mpataki" / "jobqueue" / "v1" / "jobqueue.proto").read_text()
    (job,) = re.findall(r"message Job \{(.*?)\}", text, re.DOTALL)
    ours = (PROTO / "lanework" / "v1" / "jobs.proto").read_text()

    for field in re.findall(r"\S+ \w+ = \d+;", job):
        assert field in ours
