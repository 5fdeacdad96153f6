"""Models of transformers as GGUF files, and back: by the rules, by the `gguf` package, and by llama.cpp itself."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.drivers import PROGRAMS
from harness.run import run

HERE = Path(__file__).parent
WIDTH = 256
"""Rows of the models' matrices: whole blocks of every type."""

NAMES = (
    "llama llama3 mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3 gpt2 bert phi3".split()
)
TYPES = "F32 F16 BF16 Q8_0 Q4_0 Q5_0 Q4_K Q5_K Q6_K".split()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of tiny models; `$WH_FAMILIES` names a folder of them that is there already."""
    if ready := os.environ.get("WH_FAMILIES"):
        return Path(ready)
    out = tmp_path_factory.mktemp("families")
    subprocess.run([PROGRAMS["models"], HERE / "families.py", out, str(WIDTH)], check=True, timeout=600)
    return out


Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def ask() -> Iterator[Ask]:
    """Asks the real libraries, one process for all."""
    command = [PROGRAMS["models"], HERE / "check_gguf.py"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def ask(*words: str | Path) -> Any:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        # Libraries talk while they are loaded.
        while not (line := process.stdout.readline()).startswith(("[", "{")):
            assert line, "the checker ended"
        return json.loads(line)

    yield ask
    assert process.stdin
    process.stdin.close()
    process.wait(60)


def convert(folder: Path, source: Path, out: Path, *words: str) -> Any:
    """Runs `wh convert`; the record."""
    answer = run(folder, "convert", source, out, "--json", *words)
    assert answer.code == 0, answer.err[-4000:]
    return json.loads(answer.out)


@pytest.mark.convert
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_file(name: str, kind: str, models: Path, ask: Ask, tmp_path: Path) -> None:
    """Names, types, bytes and vocabulary are those that the rules give, and the file is the package's, byte by byte."""
    out = tmp_path / "model.gguf"
    convert(tmp_path, models / name, out, "--dtype", kind.lower())
    problems = ask("gguf", models / name, out, kind)
    assert not problems, "\n".join(problems)


@pytest.mark.convert
@pytest.mark.parametrize("name", NAMES)
def test_back(name: str, models: Path, ask: Ask, tmp_path: Path) -> None:
    """What comes back answers as the model did, and splits text as its tokenizer did."""
    out, folder = tmp_path / "model.gguf", tmp_path / "back"
    convert(tmp_path, models / name, out, "--dtype", "f32")
    convert(tmp_path, out, folder)
    problems = ask("back", models / name, folder)
    assert not problems, "\n".join(problems)


@pytest.mark.convert
@pytest.mark.skipif("llama" not in PROGRAMS, reason="llama-cpp-python is not built here")
@pytest.mark.parametrize("name", NAMES)
def test_llama(name: str, models: Path, ask: Ask, tmp_path: Path) -> None:
    """llama.cpp loads the file, splits text the same way, and goes on with the same tokens."""
    out, said = tmp_path / f"{name}.gguf", tmp_path / "said.json"
    convert(tmp_path, models / name, out, "--dtype", "f32")
    said.write_text(json.dumps(ask("speak", models / name)))
    command = [PROGRAMS["llama"], HERE / "speak_llama.py", out, said]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-4000:]
    problems = json.loads(answer.stdout.splitlines()[-1])
    assert not problems, "\n".join(problems)


@pytest.mark.convert
def test_unknown(models: Path, tmp_path: Path) -> None:
    """An architecture that is not here is refused before anything is written, with those that are."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes((models / "llama" / "model.safetensors").read_bytes())
    (source / "config.json").write_text('{"model_type": "t5"}')
    answer = run(tmp_path, "convert", source, tmp_path / "out.gguf")
    assert answer.code == 9
    assert "`t5`" in answer.err and "qwen3_moe" in answer.err
    assert not (tmp_path / "out.gguf").exists()
