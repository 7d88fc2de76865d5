"""Published weights from a local file: taken whole, adapted to the channels, or refused with what differs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fl_liver.errors import ConfigError
from fl_liver.first_weights import check_study, describe
from fl_liver.models.checkpoint import adapted_convolution, load_weights, read_checkpoint
from fl_liver.models.registry import build_model, empty_model, first_vector, study_layout
from fl_liver.models.trunks import TRUNKS
from fl_liver.study import Study
from fl_liver.study_files import load_study
from tests.models.reference_outputs import fill, images
from tests.models.small_studies import SEQUENCES, study_of


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """ResNet-18 as torchvision publishes it: 1000 classes, 3 channels, counters beside the statistics."""
    model = TRUNKS["resnet18"]()
    fill(model.state_dict())
    return model.state_dict()


def fusion(path: Path, **model: Any) -> Study:
    return study_of("lesion_us_fusion", model={"width": 64, "weights": str(path), **model})


def write(path: Path, state: dict[str, Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["resnet18.safetensors", "resnet18.pth"])
def test_both_kinds_of_file_fill_the_trunk_and_leave_the_head(
    published: dict[str, Tensor], tmp_path: Path, name: str
) -> None:
    study = fusion(write(tmp_path / name, published))
    model, drawn = build_model(study), build_model(study).state_dict()
    report = load_weights(study, model)
    state = model.state_dict()
    for key, wanted in published.items():
        if not key.startswith("fc.") and key != "conv1.weight" and wanted.is_floating_point():
            assert torch.equal(state[f"lesion.backbone.{key}"], wanted), key
    torch.testing.assert_close(state["lesion.backbone.conv1.weight"], published["conv1.weight"].sum(1, keepdim=True))
    assert torch.equal(state["lesion.fc.weight"], drawn["lesion.fc.weight"])
    assert report.sentence() == (
        f"{name} (SHA-256 {report.sha256[:12]}): 100 tensors of resnet18;"
        " adapted: conv1.weight 3 → 1 channels; left out: fc.bias, fc.weight"
    )


def test_both_branches_begin_from_the_same_weights(published: dict[str, Tensor], tmp_path: Path) -> None:
    path = write(tmp_path / "resnet18.pth", published)
    study = load_study("lesion_us_fusion").changed(model={"width": 64, "weights": str(path)})
    model = build_model(study)
    assert ": 100 tensors of resnet18, 2 times;" in load_weights(study, model).sentence()
    one, two = (model.state_dict()[f"{branch}.backbone.layer3.0.conv1.weight"] for branch in ("lesion", "background"))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("model", "architecture", "sections"),
    [
        ("hcc_ct", "resnet34", {"cohort": {"sequences": ("arterial", "portal", "delayed")}}),
        ("lesion_us_attention", "densenet121", {"model": {"trunk": "densenet121"}}),
        ("mri_clinical", "inception_resnet_v2", {"cohort": {"sequences": SEQUENCES}, "model": {"image_px": 80}}),
    ],
)
def test_every_network_with_a_published_trunk_begins_from_it(
    tmp_path: Path, model: str, architecture: str, sections: dict[str, Any]
) -> None:
    state = TRUNKS[architecture]().state_dict()
    fill(state)
    path = write(tmp_path / f"{architecture}.pth", state)
    merged = {**sections, "model": {"width": 64, "weights": str(path), **sections.get("model", {})}}
    vector, layout, report = first_vector(study_of(model, **merged))
    assert report is not None
    assert report.architecture == architecture
    last = [entry for entry in layout.entries if entry.name.startswith("trunk.") and entry.name.endswith(".weight")][-1]
    start = sum(entry.size for entry in layout.entries[: layout.entries.index(last)])
    taken = torch.from_numpy(vector[start : start + last.size])
    assert torch.equal(taken, state[last.name.removeprefix("trunk.")].flatten())


def test_a_grey_image_gives_what_it_gave_as_red_green_and_blue(published: dict[str, Tensor]) -> None:
    grey, weight = images((2, 1, 20, 20)), published["conv1.weight"]
    wanted = torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), weight, None, 2, 3)
    found = torch.nn.functional.conv2d(grey, adapted_convolution(weight, 1), None, 2, 3)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 3, 4, 6])
def test_other_channels_are_red_green_and_blue_in_turn_at_the_same_response(channels: int) -> None:
    """timm's `adapt_input_conv`: repeated, then × 3 / channels. Worked out by hand."""
    weight = torch.arange(3.0).view(1, 3, 1, 1) + 1
    found = adapted_convolution(weight, channels).flatten()
    wanted = [(1 + k % 3) * 3 / channels for k in range(channels)]
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_names_of_2017_in_torchvisions_densenet_are_read(tmp_path: Path) -> None:
    """Its published file still says `denselayer1.norm.1.weight`; torchvision renames it on loading too."""
    state = TRUNKS["densenet121"](width=4).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): one for name, one in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert "features.transition1.norm.weight" in old
    found = read_checkpoint(write(tmp_path / "densenet121-a639ec97.pth", old))
    assert list(found) == [name for name, one in state.items() if one.is_floating_point()]


def test_a_training_scripts_checkpoint_has_its_state_dict_inside(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save({"epoch": 3, "state_dict": published}, tmp_path / "best.pth")
    assert "conv1.weight" in read_checkpoint(tmp_path / "best.pth")


def test_weights_of_another_architecture_are_refused_with_what_differs(tmp_path: Path) -> None:
    """Of 265 and 100 tensors without the heads: 165 that only ResNet-50 has, and 23 of other shapes."""
    path = write(tmp_path / "resnet50.pth", TRUNKS["resnet50"]().state_dict())
    with pytest.raises(
        ConfigError,
        match=re.escape(
            "resnet50.pth: not the weights of resnet18, 188 names or shapes differ (layer1.0.conv1.weight: found"
            " (64, 64, 1, 1), wanted (64, 64, 3, 3); "
        ),
    ) as caught:
        first_vector(fusion(path))
    assert "give a checkpoint of resnet18, or another model.trunk" in str(caught.value)


def test_a_checkpoint_with_a_tensor_more_or_less_is_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    """ResNet-34 holds all of ResNet-18's names with the same shapes, and more."""
    more = write(tmp_path / "more.pth", TRUNKS["resnet34"]().state_dict())
    with pytest.raises(ConfigError, match=r"layer1\.2\.conv1\.weight: found \(64, 64, 3, 3\), wanted nothing"):
        first_vector(fusion(more))
    less = {name: one for name, one in published.items() if name != "bn1.bias"}
    with pytest.raises(ConfigError, match=r"1 names or shapes differ \(bn1\.bias: found nothing, wanted \(64,\)\)"):
        first_vector(fusion(write(tmp_path / "less.pth", less)))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Opens:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Opens()}, protocol=2))
    torch.save(TRUNKS["resnet18"](width=1), tmp_path / "module.pth")
    for name in ("evil.pth", "module.pth"):
        with pytest.raises(ConfigError, match=f"{name}': no file of tensors alone"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file; give the path of a local copy, nothing is downloaded"):
        read_checkpoint(tmp_path / "resnet18.pth")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(ConfigError, match=r"wanted a \.safetensors or \.pth file"):
        read_checkpoint(tmp_path / "weights.h5")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(ConfigError, match=r"cut\.safetensors': no file of tensors alone"):
        read_checkpoint(tmp_path / "cut.safetensors")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match=r"list\.pth': holds no state dict"):
        read_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("model", "keys", "message"),
    [
        ("hcc_ct", {"width": 16}, "published weights are of width 64, model.width is 16"),
        ("hcc_ct", {"width": 64, "norm": "group"}, "belong to batch normalisation, model.norm is 'group'"),
        ("nodule_ct", {"width": 64}, "model 'nodule_ct' has no network with published weights"),
    ],
)
def test_a_network_that_weights_cannot_fill_is_refused_before_the_file_is_opened(
    model: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        first_vector(study_of(model, model={**keys, "weights": "absent.pth"}))


def test_a_checked_study_names_the_file_alone_and_needs_it_no_more(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    """A hospital lays the network out and fills it from the first weights: it has no such file."""
    path = write(tmp_path / "resnet18.pth", published)
    checked = check_study(fusion(path), tmp_path / "study")
    path.unlink()
    assert checked.model.weights == "resnet18.pth"
    assert load_study(tmp_path / "study" / "study.toml").sha256 == checked.sha256
    assert str(tmp_path) not in (tmp_path / "study" / "study.toml").read_text()
    assert study_layout(checked).size
    empty_model(checked)
    shown = dict(describe(checked, tmp_path / "study"))
    assert shown["checkpoint"].startswith("resnet18.pth (SHA-256 ")
    assert "100 tensors of resnet18; adapted: conv1.weight 3 → 1 channels" in shown["checkpoint"]


def test_without_a_checkpoint_the_description_says_so(tmp_path: Path) -> None:
    checked = check_study(study_of("nodule_ct"), tmp_path)
    assert dict(describe(checked, tmp_path))["checkpoint"] == "none, drawn from the seed"
