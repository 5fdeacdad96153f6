"""What `wh scan` says of malicious files, and of files that the real libraries wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import pytest

from harness.drivers import PROGRAMS

HERE = Path(__file__).parent
FORMATS = HERE.parent / "formats"
for folder in (HERE, FORMATS):
    sys.path.insert(0, str(folder))

from catalogue import TENSORFLOW, TORCH  # noqa: E402
from samples.build import SAMPLES  # noqa: E402

for name in ("pickles", "archives", "documents", "graphs", "headers", "evasions"):
    import_module(f"samples.{name}")

WH = os.environ.get("WH_BIN", "wh")
LADDER = ["safe", "caution", "suspicious", "error", "unsafe"]
LIMIT_S = 60

WRITERS = {
    "samples": ("formats-tf", HERE / "write.py"),
    "torch": ("models", FORMATS / "write_torch.py"),
    "tf": ("formats-tf", FORMATS / "write_tf.py"),
}
"""Sets of files: which interpreter writes them, by which script."""

ODD = {
    "torch-module/own-class": "suspicious",
    "torch-module/legacy": "suspicious",
    "lightning/own-class": "suspicious",
}
"""Files of real libraries that must not pass: classes of a script."""


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """Folders with the sets of files; `$WH_FIXTURES` names a folder of them that is there already."""
    ready = os.environ.get("WH_FIXTURES")
    out = tmp_path_factory.mktemp("trust")
    folders, running = {}, {}
    for name, (program, script) in WRITERS.items():
        if ready and (Path(ready) / name).exists():
            folders[name] = Path(ready) / name
            continue
        folders[name] = out / name
        command = [PROGRAMS[program], script, out / name]
        with (out / f"{name}.log").open("w") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=script.parent)
    for name, process in running.items():
        process.wait(timeout=1200)
        if not folders[name].exists():
            pytest.fail((out / f"{name}.log").read_text()[-4000:])
    yield folders


def scanned(target: Path, where: Path) -> tuple[int, dict]:
    """Exit code and report."""
    command = [WH, "scan", "--json", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=where)
    assert done.returncode in (0, 3), f"exit code {done.returncode}: {done.stderr[-2000:]}"
    return done.returncode, json.loads(done.stdout)


def told(report: dict) -> str:
    """The findings, in short."""
    return "\n".join(f"{found['verdict']} {found['rule']}: {found['detail']}" for found in report["findings"][:20])


@pytest.mark.trust
@pytest.mark.parametrize("name", SAMPLES)
def test_sample(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """What can act is told, whatever it hides behind, and nothing runs."""
    listed = json.loads((written["samples"] / "samples.json").read_text())[name]
    code, report = scanned(written["samples"] / listed["target"], tmp_path)
    expected, verdict = listed["expected"], report["verdict"]
    assert not (tmp_path / "pwned").exists(), "the payload ran"
    assert report["schema"] == "weighthouse.scan/1"
    if expected in ("safe", "caution"):
        assert verdict == expected, told(report)
    else:
        # What hides and what is damaged may be told for worse reasons.
        assert LADDER.index(verdict) >= LADDER.index(expected), told(report) or verdict
    assert code == (3 if LADDER.index(verdict) > 1 else 0)


@pytest.mark.trust
@pytest.mark.parametrize("name", TORCH | TENSORFLOW)
def test_benign(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """Files of real libraries raise no alarm."""
    folder = written["torch" if name in TORCH else "tf"] / name
    oracle = json.loads((folder / "oracle.json").read_text())
    if "error" in oracle:
        pytest.skip("the fixture could not be written")
    _, report = scanned(folder / oracle["target"], tmp_path)
    if name in ODD:
        assert report["verdict"] == ODD[name], told(report)
    else:
        assert report["verdict"] in ("safe", "caution"), told(report)


WRITE_JOBLIB = """
import os, sys
import joblib, numpy
from sklearn.linear_model import LinearRegression

class Evil:
    def __reduce__(self):
        return os.system, ("mkdir pwned",)

rows = numpy.random.default_rng(7).normal(size=(300, 20))
good = {"model": LinearRegression().fit(rows, rows.sum(axis=1)), "rows": rows}
for method in ("zlib", "gzip", "bz2", "xz", "lzma"):
    joblib.dump(good, f"{sys.argv[1]}/good.{method}.joblib", compress=(method, 3))
    joblib.dump([rows, Evil()], f"{sys.argv[1]}/evil.{method}.joblib", compress=(method, 3))
"""


@pytest.mark.trust
def test_joblib(tmp_path: Path) -> None:
    """Whatever joblib compresses with is looked into: what stands behind arrays is found, and a model raises no alarm."""
    subprocess.run([PROGRAMS["models"], "-c", WRITE_JOBLIB, tmp_path], check=True, timeout=LIMIT_S)
    files = sorted(tmp_path.glob("*.joblib"))
    assert len(files) == 10
    for file in files:
        _, report = scanned(file, tmp_path)
        expected = "unsafe" if file.name.startswith("evil") else "caution"
        assert report["verdict"] == expected, f"{file.name}: {told(report)}"
    assert not (tmp_path / "pwned").exists()


@pytest.mark.trust
@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("convert/")])
def test_converted(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """The tensors of a refused file are written without what runs, and that is said."""
    listed = json.loads((written["samples"] / "samples.json").read_text())[name]
    out = tmp_path / "model.safetensors"
    command = [WH, "convert", "--json", str(written["samples"] / listed["target"]), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["tensors"] == 1
    assert any("everything that runs is left out" in note for note in record["notes"]), record["notes"]
    assert out.read_bytes().endswith(bytes(range(8)))
    _, report = scanned(out, tmp_path)
    assert report["verdict"] == "safe", told(report)
    assert not (tmp_path / "pwned").exists()
