"""Auxiliary heads: where they sit, what they read, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import UsageError

OPTIONS: dict[str, dict[str, Any]] = {
    "residual": {},
    "plain": {"residual": False},
    "projections": {"shortcut": "B"},
    "pre-activation": {"preactivation": True},
    "plain pre-activation, no norm": {"preactivation": True, "residual": False, "norm": None},
    "bottleneck": {"depth": 29, "block": "bottleneck"},
    "one layer a block": {"depth": 14, "layers_per_skip": 1},
}


def build(seed: int = 0, **options: Any) -> Any:
    mr.manual_seed(seed)
    return mr.models.cifar_resnet(
        **{"depth": 20, "width": 2, "in_channels": 1, "num_classes": 3, "aux_heads": 2, **options}
    )


def images(n: int = 4) -> mr.Tensor:
    return mr.tensor(np.random.default_rng(0).standard_normal((n, 1, 8, 8)).astype(np.float32))


def block_outputs(model: Any, x: mr.Tensor) -> list[mr.Tensor]:
    """What each block gives, worked out block by block."""
    x = F.relu(model.bn1(model.conv1(x)))
    outputs = []
    for block in model.blocks():
        x = block(x)
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_in_training_each_head_classifies_the_pixel_mean_of_its_block(
    options: dict[str, Any],
) -> None:
    model = build(**options)
    blocks = len(model.blocks())
    places = [round(i * blocks / 3) for i in (1, 2)]
    main, heads = output = model(images())
    assert isinstance(output, nn.Outputs)
    assert main.shape == (4, 3)
    assert isinstance(heads, tuple)
    given = block_outputs(model, images())
    for i, (found, place) in enumerate(zip(heads, places, strict=True), 1):
        head = getattr(model, f"aux{i}")
        x = given[place - 1]
        if options.get("preactivation"):
            x = F.relu(x if "norm" in options else head.bn(x))
        pooled = x.data.mean(axis=(2, 3))
        expected = pooled @ head.fc.weight.data.T + head.fc.bias.data
        np.testing.assert_allclose(found.data, expected, rtol=1e-4, atol=1e-6)
    without = build(**{**options, "aux_heads": 0})
    assert main.data.tobytes() == without(images()).data.tobytes()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_in_evaluation_the_main_output_comes_alone_and_no_head_runs(
    options: dict[str, Any],
) -> None:
    model, without = build(**options).eval(), build(**{**options, "aux_heads": 0}).eval()
    ran: list[Any] = []
    for name, module in model.named_modules():
        if name.startswith("aux"):
            module.register_forward_hook(lambda *_: ran.append(_))
    output = model(images())
    assert output.data.tobytes() == without(images()).data.tobytes()
    assert not ran


@pytest.mark.parametrize(
    ("heads", "places"),
    [(1, (4,)), (2, (3, 6)), (3, (2, 4, 7)), (8, (1, 2, 3, 4, 5, 6, 7, 8))],
)
def test_heads_are_spaced_evenly_over_the_blocks(heads: int, places: tuple[int, ...]) -> None:
    model = build(aux_heads=heads)
    assert model.aux_after == places
    given = block_outputs(model, images())
    for i, place in enumerate(places, 1):
        channels = given[place - 1].shape[1]
        assert getattr(model, f"aux{i}").fc.weight.shape == (3, channels)


def test_every_number_of_heads_has_places_of_its_own() -> None:
    for depth in (8, 14, 44, 56):
        blocks = (depth - 2) // 2
        for heads in range(blocks):
            places = build(depth=depth, aux_heads=heads).aux_after
            assert sorted(set(places)) == list(places)
            assert len(places) == heads
            assert all(1 <= place < blocks for place in places)


@pytest.mark.parametrize("heads", [3, 4, -1])
def test_as_many_heads_as_blocks_are_too_many(heads: int) -> None:
    with pytest.raises(UsageError, match=rf"aux_heads={heads}: a network of 3 blocks has room for"):
        build(depth=8, aux_heads=heads)


@pytest.mark.parametrize("heads", [1.5, None, "2", True])
def test_what_is_no_number_of_heads_is_refused(heads: Any) -> None:
    with pytest.raises(UsageError, match="aux_heads"):
        build(aux_heads=heads)


# --- weights ---


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_rest_starts_the_same_with_and_without_heads(options: dict[str, Any]) -> None:
    model, without = build(**options), build(**{**options, "aux_heads": 0})
    after_heads = mr.randn(2).data
    build(**{**options, "aux_heads": 0})
    np.testing.assert_array_equal(after_heads, mr.randn(2).data)  # one draw for both
    own, other = model.state_dict(), without.state_dict()
    assert list(own)[: len(other)] == list(other)  # heads come last
    assert all(name.startswith(("aux1.", "aux2.")) for name in list(own)[len(other) :])
    for name, array in other.items():
        np.testing.assert_array_equal(own[name], array, err_msg=name)


@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
def test_plain_and_residual_networks_start_with_the_same_heads(shortcut: str) -> None:
    residual, plain = build(shortcut=shortcut), build(shortcut=shortcut, residual=False)
    own, other = residual.state_dict(), plain.state_dict()
    for name, array in other.items():
        np.testing.assert_array_equal(own[name], array, err_msg=name)
    assert own["aux1.fc.weight"].any()
    assert not np.array_equal(own["aux1.fc.bias"], own["aux2.fc.bias"])


def test_heads_start_as_pytorch_starts_linear_layers() -> None:
    model = build(width=64)
    for head in (model.aux1, model.aux2):
        bound = head.fc.weight.shape[1] ** -0.5
        assert 0.9 * bound < np.abs(head.fc.weight.data).max() <= bound
        assert np.abs(head.fc.bias.data).max() <= bound


# --- the rest of the package ---


def test_hooks_on_stages_and_blocks_see_the_tensors_that_go_through() -> None:
    model = build(aux_heads=3)
    seen: list[str] = []

    def hook(name: str) -> Any:
        def note(module: Any, inputs: Any, out: Any) -> None:
            assert [type(value) for value in (*inputs, out)] == [mr.Tensor, mr.Tensor]
            seen.append(name)

        return note

    grads: list[tuple[int, ...]] = []
    for name in ("layer1", "layer2", "layer3", "layer2.1"):
        dict(model.named_modules())[name].register_forward_hook(hook(name))
    model.layer2.register_full_backward_hook(lambda m, g_in, g_out: grads.append(g_out[0].shape))
    nn.total_loss(F.cross_entropy, model(images()), mr.tensor([0, 1, 2, 0])).backward()
    assert seen == ["layer1", "layer2.1", "layer2", "layer3"]
    assert grads == [(4, 4, 4, 4)]


def test_an_ordinary_network_is_made_of_ordinary_stages() -> None:
    assert type(build(aux_heads=0).layer1) is nn.Sequential


@pytest.mark.parametrize("residual", [True, False])
def test_a_head_gives_its_gradient_to_the_blocks_before_it_only(residual: bool) -> None:
    model = build(residual=residual, aux_heads=1)  # behind block 4 of 9: layer2.0
    _, (head,) = model(images())
    F.cross_entropy(head, mr.tensor([0, 1, 2, 0])).backward()
    reached = [any(p.grad is not None for p in block.parameters()) for block in model.blocks()]
    assert reached == [True] * 4 + [False] * 5
    assert model.fc.weight.grad is None


def test_a_twin_has_its_own_heads_in_the_same_places() -> None:
    model = build()
    made = mr.models.twin(model, 1.0)
    (main, heads), (other, others) = model(images()), made(images())
    for one, two in zip((main, *heads), (other, *others), strict=True):
        assert one.data.tobytes() == two.data.tobytes()
    nn.init.zeros_(mr.models.twin(model, 1.0).aux1.fc.weight)
    assert model.aux1.fc.weight.data.any()


def test_a_summary_ends_with_the_heads_which_do_not_run_and_counts_all_parameters() -> None:
    model = build()
    found = mr.models.summary(model, (1, 8, 8))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.parameters == sum(layer.parameters for layer in found.layers)
    heads = [layer for layer in found.layers if layer.name.startswith("aux")]
    assert found.layers[-2:] == tuple(heads)
    assert [(h.name, h.output_shape, h.multiply_adds) for h in heads] == [
        ("aux1.fc", (), 0),
        ("aux2.fc", (), 0),
    ]


def test_the_options_build_the_network_again() -> None:
    model = build(aux_heads=3, depth=14)
    again = mr.models.cifar_resnet(**model.options)
    again.load_state_dict(model.state_dict())
    assert again.aux_after == model.aux_after
    for one, two in zip(again(images())[1], model(images())[1], strict=True):
        assert one.data.tobytes() == two.data.tobytes()


def test_a_network_of_the_imagenet_family_takes_heads_as_well() -> None:
    mr.manual_seed(0)
    model = mr.models.imagenet_resnet(18, width=2, in_channels=1, num_classes=3)
    model.add_auxiliary_heads(2)
    assert model.aux_after == (3, 5)
    x = mr.tensor(np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32))
    main, heads = model(x)
    assert [output.shape for output in (main, *heads)] == [(2, 3)] * 3
    assert model.eval()(x).shape == (2, 3)
