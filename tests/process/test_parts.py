"""Work is taken in parts that fit: halved where memory ends, remembered, and told once."""

from __future__ import annotations

import pytest
import torch

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.process.parts import DoesNotFitError, Parts, is_out_of_memory, storage_device

NO_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError(),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
    ),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
)


class Limited:
    """Squares numbers, so many at once at most, and notes what it is asked."""

    def __init__(self, most: int, error: BaseException = NO_MEMORY[0]) -> None:
        self.most, self.error, self.asked = most, error, list[int]()

    def __call__(self, part: slice) -> torch.Tensor:
        numbers = torch.arange(100)[part]
        self.asked.append(len(numbers))
        if len(numbers) > self.most:
            raise self.error
        return numbers**2


@pytest.mark.parametrize("error", NO_MEMORY)
def test_a_part_without_memory_is_halved_until_it_fits_and_remembered(error: BaseException) -> None:
    told, work = list[str](), Limited(6, error)
    parts = Parts(notice=told.append)
    found = torch.cat(parts.each("values", 20, work))
    assert found.tolist() == [number**2 for number in range(20)]
    assert work.asked == [20, 10, 5, 5, 5, 5]
    work.asked.clear()
    parts.each("values", 12, work)
    assert work.asked == [5, 5, 2]
    assert len(told) == 1
    assert "20 samples at once do not fit" in told[0]
    assert "5 at a time" in told[0]


def test_what_fits_is_done_at_once_and_nobody_is_told() -> None:
    told, work = list[str](), Limited(20)
    assert len(Parts(notice=told.append).each("values", 20, work)) == 1
    assert (work.asked, told) == ([20], [])
    assert [len(part) for part in Parts().each("values", 0, Limited(1))] == [0]


def test_the_user_may_say_how_many_at_most() -> None:
    told, work = list[str](), Limited(20)
    Parts(8, told.append).each("gradients", 20, work)
    assert (work.asked, told) == ([8, 8, 4], [])
    with pytest.raises(UsageError, match="at least one sample at once, not 0"):
        Parts(0)


def test_each_kind_of_work_has_its_own_parts_and_none_larger_than_an_evaluation() -> None:
    told, parts = list[str](), Parts(notice=None)
    parts = Parts(notice=told.append)
    parts.each("gradients", 16, Limited(2))
    assert (parts.most("gradients", 16), parts.most("values", 16), parts.most("tangents", 16)) == (2, 16, 16)
    parts.each("values", 16, Limited(4))  # parts larger than those that have been told of
    assert (parts.most("gradients", 16), parts.most("values", 16), parts.most("tangents", 16)) == (2, 4, 4)
    parts.each("tangents", 16, Limited(1))
    assert [text.split(" when ")[1].split(":")[0] for text in told] == [
        "the network is differentiated by backpropagation",
        "the network is evaluated with dual numbers",
    ]


@pytest.mark.parametrize(
    ("work", "advice"),
    [
        ("values", "bfloat16"),
        ("tangents", "derivative=difference"),
        ("gradients", "derivative=forward or derivative=difference, or checkpointed=true"),
        ("runs", "checkpointed=true"),
    ],
)
def test_one_sample_that_does_not_fit_is_one_sentence_that_says_what_to_do(work, advice: str) -> None:
    with pytest.raises(DoesNotFitError, match=advice) as caught:
        Parts().each(work, 8, Limited(0))
    assert isinstance(caught.value, BnsbenchError)
    text = str(caught.value)
    assert text.startswith("Not even one sample fits into memory")
    assert text.count(". ") == 0
    assert "\n" not in text
    # What has been allocated is not held by what led there.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_other_errors_are_passed_on_at_once() -> None:
    work = Limited(1, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        Parts().each("values", 8, work)
    assert work.asked == [8]
    assert not is_out_of_memory(ValueError("out of memory"))


def test_a_real_allocation_that_is_too_large_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(("free", "expected"), [(16_000, "cuda:1"), (15_999, "cpu")])
def test_what_takes_more_than_a_quarter_of_a_devices_free_memory_lies_on_the_cpu(monkeypatch, free, expected) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**9) if device == "cuda:1" else (0, 0))
    assert storage_device("cuda:1", 1000) == expected
    assert storage_device("cpu", 10**15) == "cpu"
