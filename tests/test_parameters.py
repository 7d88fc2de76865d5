"""The flat vector: nothing lost, nothing copied, nothing half written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from fl_liver.errors import ConfigError, ProtocolError, TrainingError
from fl_liver.parameters import (
    Entry,
    Layout,
    check_finite,
    flatten,
    load_vector,
    merge_local,
    read_metadata,
    save_vector,
    unflatten,
    vector_sha256,
)

ARRAYS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=0, max_dims=4, max_side=4), elements=st.floats(-9, 9, width=32)
)
STATES = st.dictionaries(st.text(min_size=1, max_size=12), ARRAYS, min_size=1, max_size=6)


def small() -> tuple[np.ndarray, Layout]:
    return flatten({"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7, 8], np.float32)})


@given(STATES)
def test_flatten_then_unflatten_gives_the_state_back(state: dict[str, np.ndarray]) -> None:
    vector, layout = flatten(state)
    back = unflatten(vector, layout)
    assert list(back) == list(state)
    for name, array in state.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].shape == array.shape
    assert layout.size == len(vector) == sum(array.size for array in state.values())


def test_unflatten_gives_views() -> None:
    vector, layout = small()
    unflatten(vector, layout)["b"][1] = 99
    assert vector[-1] == 99


def test_integer_buffers_do_not_travel() -> None:
    _, layout = flatten({"w": np.zeros(2, np.float32), "num_batches_tracked": np.array(3, np.int64)})
    assert [entry.name for entry in layout.entries] == ["w"]


def test_memory_order_does_not_change_the_vector() -> None:
    """Channels-last weights must flatten like any others, or hospitals with and without would not add up."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(flatten({"w": np.asfortranarray(array)})[0], array.ravel())


@pytest.mark.parametrize("other", [Entry("c", (2,)), Entry("b", (2, 1)), Entry("b", (2,), "float16")])
def test_fingerprint_tells_names_shapes_and_dtypes_apart(other: Entry) -> None:
    _, layout = small()
    assert Layout((*layout.entries[:1], other)).fingerprint != layout.fingerprint
    assert Layout.from_json(layout.to_json()).fingerprint == layout.fingerprint
    assert len(layout.fingerprint) == 64


def test_a_double_array_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"tensor 'w' is float64, wanted float32"):
        flatten({"w": np.zeros(2)})


def test_a_vector_that_does_not_fit_is_refused() -> None:
    vector, layout = small()
    with pytest.raises(ProtocolError, match=r"has 7 numbers, wanted 8 .* different models"):
        unflatten(vector[:-1], layout)
    with pytest.raises(ProtocolError, match=r"float64\(8,\), wanted a contiguous float32\(8,\)"):
        unflatten(vector.astype(np.float64), layout)
    with pytest.raises(ProtocolError, match="wanted a contiguous float32"):
        unflatten(np.repeat(vector, 2)[::2], layout)


def test_not_finite_names_the_first_tensor_and_counts() -> None:
    vector, layout = small()
    check_finite(vector, layout)
    check_finite(np.full_like(vector, 3e38), layout)  # large is not infinite
    vector[7] = np.nan
    with pytest.raises(TrainingError, match=r"^update has NaN in 1 of 2 tensors \(first: b\)$"):
        check_finite(vector, layout)
    vector[7], vector[0] = 0, np.inf
    with pytest.raises(TrainingError, match=r"^H03 has infinity in 1 of 2 tensors \(first: a.weight\)$"):
        check_finite(vector, layout, "H03")


def test_merge_local_takes_named_tensors_from_the_hospital() -> None:
    received, layout = small()
    local = -received - 1
    merged = merge_local(received, local, layout, ["b"])
    np.testing.assert_array_equal(merged, [0, 1, 2, 3, 4, 5, -8, -9])
    assert received[-1] == 8
    with pytest.raises(ProtocolError, match="local tensor 'c' is not in the layout"):
        merge_local(received, local, layout, ["b", "c"])


def test_a_file_gives_back_the_vector_and_opens_in_any_tool(tmp_path: Path) -> None:
    vector, layout = small()
    path = tmp_path / "round.safetensors"
    save_vector(path, vector, layout, {"round": "3"})
    again, found = load_vector(path)
    np.testing.assert_array_equal(again, vector)
    assert found == layout
    assert read_metadata(path)["round"] == "3"
    assert load_file(path)["a.weight"].shape == (2, 3)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vector, layout = small()
    path = tmp_path / "round.safetensors"
    save_vector(path, vector, layout)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fl_liver.whole_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_vector(path, vector + 1, layout)
    monkeypatch.undo()
    np.testing.assert_array_equal(load_vector(path)[0], vector)
    assert [one.name for one in tmp_path.iterdir()] == ["round.safetensors"]


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(ConfigError, match=r"no safetensors file that can be read \(FileNotFoundError\)"):
        load_vector(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="no safetensors file that can be read"):
        load_vector(path)
    save_file({"a": np.zeros(2, np.float32)}, path)
    with pytest.raises(ConfigError, match="holds no layout"):
        load_vector(path)
    layout = Layout((Entry("a", (2,)), Entry("b", (1,))))
    save_file({"a": np.zeros(2, np.float32)}, path, {"layout": layout.to_json()})
    with pytest.raises(ConfigError, match="tensor 'b' stands only in its layout or only in its data"):
        load_vector(path)
    save_file({"a": np.zeros(3, np.float32), "b": np.zeros(1, np.float32)}, path, {"layout": layout.to_json()})
    with pytest.raises(ConfigError, match=r"tensor 'a' is float32\(3,\), wanted float32\(2,\)"):
        load_vector(path)


def test_sha256_is_of_little_endian_bytes() -> None:
    """Oracle: printf '\\x00\\x00\\x80\\x3f' | sha256sum"""
    assert vector_sha256(np.ones(1, np.float32)) == "e00e5eb9444182f352323374ef4e08ebcb784725fdd4fd612d7730540b3e0c8c"


def test_reading_vectors_loads_no_torch() -> None:
    code = "import sys, fl_liver.parameters; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
