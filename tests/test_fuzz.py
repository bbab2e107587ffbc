"""A short run of the fuzzing that ``make fuzz`` does at length, and proof that it would notice."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec

import pytest
from PIL import Image

from lab.studies import container_fuzzing, robustness
from lab.studies.mutations import FORGED_BY_NATURE, MUTATIONS
from lab.studies.robustness import BAD, OTHER, REFUSED, Case, cases, corpus, fuzz, judge, table
from weconvene_core.codec import api
from weconvene_core.errors import CorruptFileError, WeconveneError


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return corpus()


@pytest.fixture(scope="module")
def pictures(files: list[bytes]) -> list[bytes]:
    return [api.decode(data).tobytes() for data in files]


@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("forged", [False, True])
def test_damaged_files_end_in_a_refusal_or_in_a_picture(
    kind: str, forged: bool, files: list[bytes], pictures: list[bytes]
) -> None:
    outcomes = [judge(Case(kind, forged, seed), files, pictures) for seed in range(10_000, 10_025)]
    assert not set(outcomes) & set(BAD)
    assert REFUSED in outcomes
    if not forged and kind not in FORGED_BY_NATURE:
        assert OTHER not in outcomes


def test_the_cases_are_as_many_as_asked_and_repeatable(files: list[bytes]) -> None:
    asked = list(cases(1000))
    assert len(asked) == len(set(asked)) == 1000
    assert {case.kind for case in asked} == set(MUTATIONS)
    assert all(case.file(files) == case.file(files) for case in asked[::97])


def test_a_process_of_limited_memory_does_it_and_a_table_tells() -> None:
    found = table(fuzz(28))
    total = found.iloc[-1]
    assert total.files == 28 == total.refused + total.unchanged + total.other
    assert not total[list(BAD)].any()
    assert 0 < total.worst_s < robustness.LIMIT_S


def garbage(data: bytes, **_: int) -> Image.Image:
    return Image.new("RGB", (3, 3))


def test_garbage_behind_checksums_that_were_left_alone_would_be_noticed(
    files: list[bytes], pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "decode", garbage)
    assert judge(Case("bit flips", False, 0), files, pictures) == "garbage"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts a process by fork")
def test_crashes_and_hangs_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that dies on one file and sleeps on another, in the processes that ``fuzz`` starts."""
    monkeypatch.setattr(robustness, "START_METHOD", "fork")  # at once; such a child does not compute
    monkeypatch.setattr(robustness, "LIMIT_S", 0.5)
    monkeypatch.setattr(robustness, "_child", faulty_child)
    counts = fuzz(28)["bit flips", False].counts
    assert (counts["crashed"], counts["hung"]) == (1, 1)


def faulty_child(pipe: robustness.Connection, waiting: list[Case]) -> None:
    pipe.send("ready")
    for case in waiting:
        if case.kind == "bit flips" and not case.forged:
            if case.seed == 0:
                os._exit(1)
            time.sleep(60)
        pipe.send((REFUSED, 0.0, 0.0))


def test_the_parser_accepts_what_pack_writes_and_nothing_else() -> None:
    seeds = container_fuzzing.seeds()
    for data in seeds:
        container_fuzzing.one_input(data)
    for kind in MUTATIONS:
        for case in (Case(kind, False, seed) for seed in range(30)):
            container_fuzzing.one_input(case.file(seeds))


LIBFUZZER = """#524288\tpulse  cov: 69 ft: 201 corp: 45/2130b lim: 4096 exec/s: 2621 rss: 61Mb
#600001\tDONE   cov: 70 ft: 209 corp: 48/2200b lim: 4096 exec/s: 2655 rss: 61Mb
Done 600001 runs in 226 second(s)
stat::number_of_executed_units: 600001
"""


def test_a_row_tells_what_the_fuzzer_reported() -> None:
    (row,) = container_fuzzing.outcome(LIBFUZZER, 0, 0).to_dict("records")
    assert row == {
        "executions": 600001, "edges": 70, "features": 209, "corpus": 48, "seconds": 226, "crashes": 0, "exit_code": 0
    }  # fmt: skip
    (row,) = container_fuzzing.outcome(LIBFUZZER.splitlines()[-1], 77, 1).to_dict("records")
    assert (row["executions"], row["crashes"], row["exit_code"]) == (600001, 1, 77)
    with pytest.raises(WeconveneError, match="did not run: No such flag"):
        container_fuzzing.outcome("No such flag.\n", 1, 0)


@pytest.mark.skipif(find_spec("atheris") is not None, reason="atheris is there")
def test_without_atheris_a_sentence_says_what_to_install() -> None:
    with pytest.raises(WeconveneError, match="pip install 'weconvene-core"):
        container_fuzzing.fuzz([])


def test_refusals_are_value_errors(files: list[bytes]) -> None:
    with pytest.raises(ValueError, match="altered") as caught:
        api.decode(files[0][:-1] + b"\x00")
    assert isinstance(caught.value, CorruptFileError)
