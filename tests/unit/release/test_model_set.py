"""The model-set archive: deterministic, addressed by content, complete."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.release import modelset
from mlops.release.modelset import ArtifactError, ModelSet, Pair
from tests.fakes import MemoryObjects
from tests.unit.release.fake_serving import World

names = st.text("abcdef-", min_size=1, max_size=6)
pairs = st.builds(Pair, st.none() | names, st.none() | names)


def stored(models: ModelSet) -> MemoryObjects:
    bucket = MemoryObjects()
    for model, version in models.versions():
        for name in modelset.FILES:
            bucket.put(f"models/{model}/{version}/{name}", f"{model} {version} {name}".encode())
        digest = hashlib.sha256(f"{model} {version} model.onnx".encode()).hexdigest()
        bucket.put(f"models/{model}/{version}/manifest.json", json.dumps({"onnx_sha256": digest}).encode())
    return bucket


@given(st.dictionaries(names, pairs, max_size=4))
def test_equal_sets_are_equal_bytes_in_any_order(models: dict[str, Pair]) -> None:
    one, other = ModelSet(models), ModelSet(dict(reversed(models.items())))
    bucket = stored(one)
    assert modelset.build(one, bucket) == modelset.build(other, bucket)
    assert one.digest == other.digest


@given(st.dictionaries(names, pairs, max_size=3), st.dictionaries(names, pairs, max_size=3))
def test_other_sets_have_another_digest(one: dict[str, Pair], other: dict[str, Pair]) -> None:
    assert (ModelSet(one).digest == ModelSet(other).digest) == (one == other)


def test_the_archive_holds_what_predict_reads() -> None:
    models = ModelSet({"m": Pair("v1", "v2"), "n": Pair()})
    with zipfile.ZipFile(io.BytesIO(modelset.build(models, stored(models)))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(
            ["models/set.json", *(f"models/m/{v}/{name}" for v in ("v1", "v2") for name in modelset.FILES)]
        )
        assert json.loads(archive.read("models/set.json")) == {
            "schema": "mlops.model-set.v1",
            "models": {"m": {"champion": "v1", "challenger": "v2"}, "n": {"champion": None, "challenger": None}},
        }
        assert all(info.external_attr >> 16 == 0o644 for info in archive.infolist())


def test_an_archive_is_built_once() -> None:
    models = ModelSet({"m": Pair("v1")})
    bucket = stored(models)
    key = modelset.archive(models, bucket)
    assert key == f"layers/{models.digest}.zip"
    modelset.archive(models, bucket)
    assert len(bucket.versions[key]) == 1


def test_a_missing_artifact_is_named() -> None:
    models = ModelSet({"m": Pair("v1")})
    bucket = stored(models)
    bucket.delete("models/m/v1/golden.json")
    with pytest.raises(MlopsError, match=r"m/v1 has no golden\.json"):
        modelset.build(models, bucket)


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("model.onnx", b"another", "has another model.onnx than its manifest names"),
        ("manifest.json", b"{}", "names no digest"),
        ("manifest.json", b"[1]", "cannot be read"),
        ("manifest.json", b"\xff", "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_was_judged_is_not_packed(name: str, body: bytes, message: str) -> None:
    """Whoever may write the bucket, or a disk that forgets, must not change what answers callers."""
    models = ModelSet({"m": Pair("v1", "v2")})
    bucket = stored(models)
    bucket.put(f"models/m/v2/{name}", body)
    with pytest.raises(ArtifactError, match=message) as caught:
        modelset.archive(models, bucket)
    assert caught.value.code == "artifact_damaged"
    assert "m/v2" in caught.value.message
    assert not list(bucket.list("layers/"))


def test_a_set_beyond_a_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelset, "MAX_BYTES", 10)
    models = ModelSet({"m": Pair("v1")})
    with pytest.raises(MlopsError, match=r"room for 0\.0 MB: m/v1 0\.0 MB; train a smaller model"):
        modelset.build(models, stored(models))


def test_sizes_are_told_without_reading_anything() -> None:
    models = ModelSet({"m": Pair("v1", "v2"), "n": Pair("v3")})
    bucket = stored(models)
    assert modelset.oversize(models, bucket) is None
    for version, size in (("v1", 40_000_000), ("v2", 75_000_000)):
        bucket.put(f"models/m/{version}/model.onnx", bytes(size))
        bucket.put(f"models/m/{version}/holdout.npz", bytes(50_000_000))  # stays in the bucket
    bucket.get = lambda *a, **k: pytest.fail("read")  # type: ignore[method-assign]
    told = modelset.oversize(models, bucket)
    assert told is not None
    assert told.startswith(
        "the models that would be served take 115.0 MB together, a layer has room for 110.0 MB: m/v2"
    )
    assert "m/v2 75.0 MB, m/v1 40.0 MB, n/v3 0.0 MB" in told


def test_champions_and_models_without_one() -> None:
    world = World()
    world.first_champion()
    world.add_model("new")
    assert ModelSet.of_champions(world.registry).models == {"iris": Pair("a"), "new": Pair()}
