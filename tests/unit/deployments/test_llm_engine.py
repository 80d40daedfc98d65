"""How the language model's engine is started: its arguments, and the cores it computes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sagaforge.deployments.llm.engine_options import BINDING, engine_options, threads_of_one_process
from sagaforge.profiles import PROFILES


@pytest.mark.parametrize(("num_cores", "num_threads"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, None), (64, None)])
def test_few_cores_are_one_process_that_leaves_one(num_cores: int, num_threads: int | None) -> None:
    assert threads_of_one_process(num_cores, {}) == num_threads


@pytest.mark.parametrize("binding", ["auto", "nobind", "0-1"])
def test_an_operator_who_binds_threads_is_obeyed(binding: str) -> None:
    assert threads_of_one_process(2, {BINDING: binding}) is None


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_says_what_the_engine_may_hold(name: str) -> None:
    profile = PROFILES[name].llm
    options = engine_options(profile)
    assert (options["max_model_len"], options["max_num_seqs"]) == (profile.max_model_len, profile.max_num_seqs)
    assert options.get("enforce_eager", False) == (profile.device == "cpu")
    assert ("gpu_memory_utilization" in options) == (profile.gpu_memory_utilization is not None)


def test_what_a_profile_leaves_open_is_vllms_to_choose() -> None:
    options = engine_options(replace(PROFILES["pocket"].llm, kv_cache_bytes=None, quantization="awq"))
    assert "kv_cache_memory_bytes" not in options
    assert options["quantization"] == "awq"
