"""Checkpoints: what is saved is loaded, and every difference from the layout is one clear error."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from kernels.model.state.load import (
    INDEX,
    AnySpec,
    StateError,
    classifier_layout,
    load_metadata,
    load_state,
    save_state,
)

LAYOUT = {
    "embedding.weight": AnySpec((6, 4), torch.int8),
    "embedding.scale": AnySpec((6,), torch.float32),
    "layers.0.up.weight": AnySpec((8, 4), torch.bfloat16),
    "layers.0.half": AnySpec((3,), torch.float16),
}
State = dict[str, torch.Tensor]


def random_of(layout: Mapping[str, AnySpec], seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn([n or 5 for n in spec.shape], generator=generator) * 50).to(spec.dtype)
        for name, spec in layout.items()
    }


@pytest.fixture
def state() -> State:
    return random_of(LAYOUT)


def assert_same(found: Mapping[str, torch.Tensor], want: Mapping[str, torch.Tensor]) -> None:
    assert list(found) == list(want)
    for name, value in want.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_what_is_saved_is_loaded_in_the_layouts_order(tmp_path: Path, state: State) -> None:
    backwards = dict(reversed(state.items()))
    save_state(tmp_path / "m.safetensors", backwards, metadata={"heads": '["a"]'})
    assert_same(load_state(tmp_path / "m.safetensors", LAYOUT), state)
    assert load_metadata(tmp_path / "m.safetensors") == {"format": "pt", "heads": '["a"]'}
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_folder_with_one_file_is_a_checkpoint(tmp_path: Path, state: State) -> None:
    save_state(tmp_path / "model.safetensors", state)
    assert_same(load_state(str(tmp_path), LAYOUT), state)


@pytest.mark.parametrize(("most", "files"), [(1, 4), (48, 3), (1000, 1)])
def test_several_files_with_an_index(tmp_path: Path, state: State, most: int, files: int) -> None:
    """24, 24, 64 and 6 bytes."""
    folder = tmp_path / "new" / "folder"
    save_state(folder, state, metadata={"heads": "[]"}, shard_bytes=most)
    assert len(list(folder.glob("*.safetensors"))) == files
    assert_same(load_state(folder, LAYOUT), state)
    assert_same(load_state(folder / INDEX, LAYOUT), state)
    assert load_metadata(folder)["heads"] == "[]"
    assert json.loads((folder / INDEX).read_text())["metadata"]["total_size"] == 118
    assert not list(folder.glob("*.tmp"))


def test_strided_tensors_are_saved_by_value(tmp_path: Path) -> None:
    value = torch.arange(12.0).view(3, 4).T
    save_state(tmp_path / "m.safetensors", {"x": value})
    layout = {"x": AnySpec((4, 3), torch.float32)}
    assert_same(load_state(tmp_path / "m.safetensors", layout), {"x": value})


def test_a_rank_takes_its_share(tmp_path: Path, state: State) -> None:
    save_state(tmp_path, state, shard_bytes=30)

    def half(name: str, value: torch.Tensor) -> torch.Tensor:
        return value.chunk(2, 0)[1].contiguous() if name.endswith("weight") else value

    found = load_state(tmp_path, LAYOUT, share=half)
    want = {name: half(name, value) for name, value in state.items()}
    assert_same(found, want)


def test_optional_tensors_are_all_there_or_none(tmp_path: Path, state: State) -> None:
    file = tmp_path / "m.safetensors"
    head = random_of(classifier_layout(4), seed=1)
    save_state(file, state | head)
    assert_same(load_state(file, LAYOUT, optional=classifier_layout(4)), state | head)
    with pytest.raises(StateError, match="not of this model 2 tensors: classifier.bias, class"):
        load_state(file, LAYOUT)
    with pytest.raises(StateError, match=r"classifier.weight: shape is \[5, 4\], must be \[any, 7"):
        load_state(file, LAYOUT, optional=classifier_layout(7))
    save_state(file, state)
    assert_same(load_state(file, LAYOUT, optional=classifier_layout(4)), state)
    save_state(file, state | {"classifier.bias": head["classifier.bias"]})
    with pytest.raises(StateError, match="missing 1 tensor: classifier.weight$"):
        load_state(file, LAYOUT, optional=classifier_layout(4))


def changed(state: State, name: str, value: torch.Tensor | None) -> State:
    rest = {key: tensor for key, tensor in state.items() if key != name}
    return rest if value is None else rest | {name: value}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("embedding.scale", None, "missing 1 tensor: embedding.scale"),
        ("lm_head.weight", torch.zeros(2), "not of this model 1 tensor: lm_head.weight"),
        ("embedding.scale", torch.zeros(7), "embedding.scale: shape is [7], must be [6]"),
        ("embedding.scale", torch.zeros(6, 1), "embedding.scale: shape is [6, 1], must be [6]"),
        (
            "embedding.weight",
            torch.zeros((6, 4)),
            "embedding.weight: dtype is float32, must be int8",
        ),
        (
            "layers.0.half",
            torch.zeros(3).to(torch.float8_e4m3fn),
            "layers.0.half: dtype is F8_E4M3, must be float16",
        ),
        (
            "embedding.scale",
            torch.tensor([1, 1, float("nan"), 1, 1, 1]),
            "embedding.scale: has NaN or infinity, must be finite",
        ),
        (
            "layers.0.up.weight",
            torch.full((8, 4), float("-inf"), dtype=torch.bfloat16),
            "layers.0.up.weight: has NaN or infinity, must be finite",
        ),
    ],
)
def test_one_difference_is_one_line(
    tmp_path: Path, state: State, name: str, value: torch.Tensor | None, says: str
) -> None:
    file = tmp_path / "m.safetensors"
    save_state(file, changed(state, name, value))
    with pytest.raises(StateError, match=f"^{re.escape(f'{file}: {says}')}$"):
        load_state(file, LAYOUT)


def test_many_differences_are_one_error_that_lists_a_few(tmp_path: Path) -> None:
    layout = {f"layers.{i}.x": AnySpec((2,), torch.float32) for i in range(10)}
    file = tmp_path / "m.safetensors"
    wrong = {f"layers.{i}.x": torch.zeros(3) for i in range(5)}
    save_state(file, wrong | {f"other.{i}": torch.zeros(1) for i in range(4)})
    with pytest.raises(StateError) as caught:
        load_state(file, layout)
    assert str(caught.value).splitlines() == [
        f"{file}: missing 5 tensors: layers.5.x, layers.6.x, layers.7.x and 2 more",
        f"{file}: not of this model 4 tensors: other.0, other.1, other.2 and 1 more",
        *(f"{file}: layers.{i}.x: shape is [3], must be [2]" for i in range(3)),
        "and 2 more of wrong shape or type",
    ]


def test_nothing_is_read_from_files_that_do_not_fit(tmp_path: Path, state: State) -> None:
    """Headers are compared first: a tensor that does fit is not even looked at."""
    file = tmp_path / "m.safetensors"
    save_state(file, changed(state, "layers.0.half", None))
    seen: list[str] = []
    with pytest.raises(StateError):
        load_state(file, LAYOUT, share=lambda name, value: seen.append(name) or value)
    assert seen == []


def test_files_that_are_no_checkpoint(tmp_path: Path, state: State) -> None:
    with pytest.raises(StateError, match=r"nothing\.safetensors: cannot be read as safetensors"):
        load_state(tmp_path / "nothing.safetensors", LAYOUT)
    with pytest.raises(StateError, match="has neither model.safetensors.index.json nor model.s"):
        load_state(tmp_path, LAYOUT)
    whole = tmp_path / "whole.safetensors"
    save_state(whole, state)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-1])
    for bad in (cut, tmp_path / "text.safetensors"):
        bad.exists() or bad.write_text("not one")
        with pytest.raises(StateError, match=f"{bad.name}: cannot be read as safetensors"):
            load_state(bad, LAYOUT)


def edited(folder: Path, **change: Any) -> None:
    """An index with some places of its map changed (None: taken out)."""
    index = json.loads((folder / INDEX).read_text())
    for name, file in change.items():
        index["weight_map"][name.replace("__", ".")] = file
    index["weight_map"] = {k: v for k, v in index["weight_map"].items() if v is not None}
    (folder / INDEX).write_text(json.dumps(index))


FIRST, LAST = "model-00001-of-00004.safetensors", "model-00004-of-00004.safetensors"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"embedding__weight": LAST}, f"{LAST}: has no embedding.weight, must have by the index"),
        ({"more": FIRST}, f"{FIRST}: has no more, must have by the index"),
        ({"embedding__weight": "gone.safetensors"}, "gone.safetensors: cannot be read as safe"),
        ({"embedding__weight": "../m.safetensors"}, "embedding.weight: is in '../m.safetensors'"),
        ({"embedding__weight": 3}, "embedding.weight: is in 3, must be a file name"),
    ],
)
def test_an_index_must_be_right(
    tmp_path: Path, state: State, change: dict[str, Any], says: str
) -> None:
    save_state(tmp_path, state, shard_bytes=1)
    edited(tmp_path, **change)
    with pytest.raises(StateError, match=re.escape(says)):
        load_state(tmp_path, LAYOUT)


def test_a_tensor_that_the_index_left_out_is_told(tmp_path: Path, state: State) -> None:
    save_state(tmp_path, state, shard_bytes=48)
    edited(tmp_path, embedding__scale=None)
    with pytest.raises(StateError, match="has embedding.scale, must not have by the index"):
        load_state(tmp_path, LAYOUT)


def test_a_tensor_in_two_files_is_told(tmp_path: Path, state: State) -> None:
    save_state(tmp_path, state, shard_bytes=1)
    save_file({name: state[name] for name in ("embedding.weight", "embedding.scale")},
              tmp_path / FIRST)  # fmt: skip
    with pytest.raises(StateError, match=f"{FIRST}: has embedding.scale, must not have"):
        load_state(tmp_path, LAYOUT)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": []}', "\ufeff{}"])
def test_an_index_must_be_one(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match=re.escape(INDEX)):
        load_state(tmp_path, LAYOUT)


def test_a_failed_save_leaves_what_was_there(
    tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: State, path: Path, __: dict[str, str]) -> None:
        path.write_bytes(b"half of it")
        raise OSError("no space left")

    file = tmp_path / "m.safetensors"
    save_state(file, state)
    with monkeypatch.context() as patch:
        patch.setattr("kernels.model.state.load.save_file", half)
        with pytest.raises(OSError, match="no space left"):
            save_state(file, state)
    assert_same(load_state(file, LAYOUT), state)
    assert [each.name for each in tmp_path.iterdir()] == ["m.safetensors"]


def test_tensors_that_share_memory_are_refused(tmp_path: Path) -> None:
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        save_state(tmp_path / "m.safetensors", {"a": shared, "b": shared})


def test_shards_have_a_size(tmp_path: Path, state: State) -> None:
    with pytest.raises(ValueError, match="shard_bytes: is 0, must be at least 1"):
        save_state(tmp_path, state, shard_bytes=0)
