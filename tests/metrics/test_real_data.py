from __future__ import annotations

import hashlib
import io
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from bnsbench.errors import UsageError
from bnsbench.media.wav import write_wav
from bnsbench.metrics.real_data import SoundFolder, open_images


@pytest.fixture
def pixels() -> np.ndarray:
    """Images [5, 6, 4, 3]."""
    return np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)


def read(data, size: int = 2) -> torch.Tensor:
    parts = list(data.batches(size))
    assert [len(part) for part in parts] == [size] * (len(data) // size) + [len(data) % size] * bool(len(data) % size)
    return torch.cat(parts)


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def test_a_folder_is_read_with_its_subfolders_in_the_order_of_paths(pixels, tmp_path):
    for name, image in zip(("b/1.png", "a.PNG", "b/0.png", "c.png", "b/2.png"), pixels, strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name, format="png")
    (tmp_path / "labels.json").write_text("{}")
    data = open_images(str(tmp_path), (3, 6, 4))
    assert torch.equal(read(data), channels_first(pixels[[1, 2, 0, 4, 3]]))


def test_jpegs_are_what_pillow_says_they_are(pixels, tmp_path):
    for number in range(2):
        Image.fromarray(pixels[number]).save(tmp_path / f"{number}.jpeg")
    expected = np.stack([np.asarray(Image.open(tmp_path / f"{number}.jpeg")) for number in range(2)])
    assert torch.equal(read(open_images(str(tmp_path), (3, 6, 4))), channels_first(expected))


def test_images_are_read_in_the_samples_colours(pixels, tmp_path):
    Image.fromarray(pixels[0, :, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(pixels[1, :, :, 0]).convert("P").save(tmp_path / "palette.png")
    grey = torch.from_numpy(pixels[:2, :, :, 0])[:, None]
    assert torch.equal(read(open_images(str(tmp_path), (1, 6, 4))), grey)
    assert torch.equal(read(open_images(str(tmp_path), (3, 6, 4))), grey.expand(-1, 3, -1, -1))


def test_archives_are_read_like_folders_compressed_or_not(pixels, tmp_path):
    for save, name in ((np.savez, "plain"), (np.savez_compressed, "compressed")):
        save(tmp_path / f"{name}.npz", arr_0=pixels, arr_1=np.arange(5))
        data = open_images(str(tmp_path / f"{name}.npz"), (3, 6, 4))
        assert torch.equal(read(data), channels_first(pixels))
        assert data.statistics is None


def test_statistics_are_read_in_float64(tmp_path):
    np.savez(tmp_path / "stats.npz", mu=np.ones(3, dtype=np.float32), sigma=np.eye(3))
    data = open_images(str(tmp_path / "stats.npz"), (3, 6, 4))
    assert len(data) == 0
    assert data.statistics is not None
    assert {name: (array.dtype, array.shape) for name, array in data.statistics.items()} == {
        "mu": (np.dtype(np.float64), (3,)),
        "sigma": (np.dtype(np.float64), (3, 3)),
    }


def test_fingerprints_are_of_contents_and_names(pixels, tmp_path):
    def fingerprint(folder, names):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, image in zip(names, pixels, strict=False):
            Image.fromarray(image).save(tmp_path / folder / name)
        return open_images(str(tmp_path / folder), (3, 6, 4)).fingerprint

    first = fingerprint("one", ["a.png", "b.png"])
    assert fingerprint("two", ["a.png", "b.png"]) == first
    assert fingerprint("three", ["a.png", "c.png"]) != first
    pixels[0] += 1
    assert fingerprint("two", ["a.png", "b.png"]) != first
    np.savez(tmp_path / "file.npz", arr_0=pixels)
    expected = hashlib.sha256((tmp_path / "file.npz").read_bytes()).hexdigest()
    assert open_images(str(tmp_path / "file.npz"), (3, 6, 4)).fingerprint == expected


def test_images_unlike_the_samples_are_refused(pixels, tmp_path):
    for name, image in (("0.png", pixels[0]), ("1.png", pixels[1, :5])):
        Image.fromarray(image).save(tmp_path / name)
    with pytest.raises(UsageError, match=r"1\.png is 4x5 and the samples are 4x6 pixels: crop and resize them beforehand"):
        read(open_images(str(tmp_path), (3, 6, 4)))
    np.savez(tmp_path / "a.npz", arr_0=pixels)
    with pytest.raises(UsageError, match=r"a\.npz are 4x6 pixels in 3 channels and the samples 8x8 in 3: crop"):
        open_images(str(tmp_path / "a.npz"), (3, 8, 8))
    Image.fromarray(np.zeros((6, 4), dtype=np.uint16)).save(tmp_path / "1.png")
    with pytest.raises(UsageError, match=r"1\.png has more than 8 bits per channel"):
        read(open_images(str(tmp_path), (3, 6, 4)))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"arr_0": np.zeros((2, 6, 4, 3))}, "not stored as bytes"),
        ({"arr_0": np.zeros((2, 72), dtype=np.uint8)}, "not stored as bytes"),
        ({"mu": np.zeros(3)}, "neither images .arr_0. nor statistics .mu and sigma."),
        ({"labels": np.zeros(3)}, "neither images"),
    ],
)
def test_archives_of_other_things_are_refused(arrays, said, tmp_path):
    np.savez(tmp_path / "file.npz", **arrays)
    with pytest.raises(UsageError, match=said):
        open_images(str(tmp_path / "file.npz"), (3, 6, 4))


def test_what_is_not_there_or_damaged_is_refused(pixels, tmp_path):
    with pytest.raises(UsageError, match=r"There is no folder .*absent of real images"):
        open_images(str(tmp_path / "absent"), (3, 6, 4))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UsageError, match=r"text\.npz is no \.npz file"):
        open_images(str(tmp_path / "text.npz"), (3, 6, 4))
    Image.fromarray(pixels[0]).save(tmp_path / "0.png")
    with pytest.raises(UsageError, match=r"holds 1 images \(.png, .jpg, .jpeg\), but two are needed"):
        open_images(str(tmp_path), (3, 6, 4))
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"1\.png cannot be read"):
        read(open_images(str(tmp_path), (3, 6, 4)))


def test_sounds_are_read_and_those_of_another_length_or_rate_refused(tmp_path):
    sounds = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for number, sound in enumerate(sounds):
        write_wav(tmp_path / f"{number}.wav", sound, 8000)
    torch.testing.assert_close(read(SoundFolder(tmp_path, (50, 8000))), sounds, rtol=0, atol=0.6 / 32767)
    with pytest.raises(UsageError, match=r"0\.wav has 50 values at 8000 Hz and the samples have 50 at 16000 Hz: resample"):
        read(SoundFolder(tmp_path, (50, 16_000)))
    write_wav(tmp_path / "2.wav", sounds[0, :40], 8000)
    with pytest.raises(UsageError, match=r"2\.wav has 40 values"):
        read(SoundFolder(tmp_path, (50, 8000)))
    (tmp_path / "1.wav").write_bytes((tmp_path / "0.wav").read_bytes()[:90])
    with pytest.raises(UsageError, match=r"1\.wav cannot be read: it is damaged"):
        read(SoundFolder(tmp_path, (50, 8000)))
    (tmp_path / "1.wav").write_text("hello")
    with pytest.raises(UsageError, match=r"1\.wav cannot be read"):
        read(SoundFolder(tmp_path, (50, 8000)))


@pytest.mark.parametrize(
    "statistics",
    [
        {"mu": np.array([1.0, None, 2.0], dtype=object), "sigma": np.eye(3)},
        {"mu": np.array(["a", "b", "c"]), "sigma": np.eye(3)},
        {"mu": np.array([1.0, np.nan, 2.0]), "sigma": np.eye(3)},
        {"mu": np.zeros(3), "sigma": np.full((3, 3), np.inf)},
        {"mu": np.zeros(3), "sigma": np.eye(4)},
        {"mu": np.zeros((3, 1)), "sigma": np.eye(3)},
        {"mu": np.zeros(3), "sigma": np.array([[1, 2, 0], [0, 1, 0], [0, 0, 1.0]])},
    ],
)
def test_statistics_that_are_none_are_refused(statistics, tmp_path):
    np.savez(tmp_path / "stats.npz", **statistics)
    with pytest.raises(UsageError, match=r"[Tt]he statistics .*stats\.npz"):
        _ = open_images(str(tmp_path / "stats.npz"), (3, 6, 4)).statistics


@pytest.mark.parametrize("compressed", [False, True])
def test_archives_that_are_cut_or_lie_are_refused(pixels, compressed, tmp_path):
    (np.savez_compressed if compressed else np.savez)(tmp_path / "whole.npz", arr_0=pixels)
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"cut\.npz is no \.npz file"):
        open_images(str(tmp_path / "cut.npz"), (3, 6, 4))
    content[len(content) // 2] ^= 255
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(UsageError, match=r"damaged\.npz (is no \.npz file|cannot be read).*CRC"):
        read(open_images(str(tmp_path / "damaged.npz"), (3, 6, 4)), 5)
    stream = io.BytesIO()
    np.save(stream, pixels)
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        archive.writestr("arr_0.npy", stream.getvalue()[:-30])
    with pytest.raises(UsageError, match=r"short\.npz cannot be read: the file ends before image 5 of 5"):
        read(open_images(str(tmp_path / "short.npz"), (3, 6, 4)))


def test_only_pngs_and_jpegs_are_opened(pixels, tmp_path):
    for name in ("0.png", "1.png"):
        Image.fromarray(pixels[0]).save(tmp_path / name, format="tiff" if name == "1.png" else "png")
    with pytest.raises(UsageError, match=r"1\.png cannot be read"):
        read(open_images(str(tmp_path), (3, 6, 4)))


@pytest.mark.parametrize("limit", [20, 10])
def test_images_over_pillow_s_limit_are_refused(pixels, limit, tmp_path, monkeypatch):
    """Above the limit it warns, above twice the limit it raises."""
    for name in ("0.png", "1.png"):
        Image.fromarray(pixels[0]).save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UsageError, match=r"0\.png cannot be read: .*24 pixels"):
        read(open_images(str(tmp_path), (3, 6, 4)))


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    line = f"{header}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(line).to_bytes(2 if version == 1 else 4, "little") + line + content


def described(kind: str, shape: str) -> str:
    return f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}"


HOSTILE = {
    "huge": npy(described("'<f8'", "(1000000000000,)")),
    "huge square": npy(described("'<f8'", "(100000, 100000)")),
    "beyond 64 bits": npy(described("'<f8'", "(99999999999999999999999,)")),
    "negative": npy(described("'<f8'", "(-4,)"), bytes(32)),
    "objects": npy(described("'|O'", "(4,)"), b"cposix\nsystem\n"),
    "texts": npy(described("'<U4'", "(4,)"), bytes(64)),
    "times": npy(described("'<M8[s]'", "(4,)"), bytes(32)),
    "complex": npy(described("'<c16'", "(4,)"), bytes(64)),
    "records": npy(described("[('a', '<f8')]", "(4,)"), bytes(32)),
    "no numbers": npy(described("'<f8'", "()"), bytes(8)),
    "no header": npy("(" * 3000),
    "an open text": npy("{'descr': " + 3 * "'"),
    "a call": npy("__import__('os').getcwd()"),
    "another version": npy(described("'<f8'", "(4,)"), bytes(32), version=9),
    "nothing": b"",
    "a pickle": b"\x80\x04N.",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("member", ["arr_0", "mu", "sigma"])
def test_arrays_of_any_content_are_one_sentence_and_little_memory(tmp_path, name, member):
    sound: dict[str, np.ndarray] = {"mu": np.ones(4), "sigma": np.eye(4), "arr_0": np.zeros((2, 6, 4, 3), np.uint8)}
    np.savez(tmp_path / "sound.npz", **sound)  # type: ignore[arg-type]
    with zipfile.ZipFile(tmp_path / "sound.npz") as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "real.npz", "w") as archive:
        for entry, data in {**content, f"{member}.npy": HOSTILE[name]}.items():
            archive.writestr(entry, data)
    tracemalloc.start()
    with pytest.raises(UsageError, match=r"real\.npz") as caught:
        read_all(tmp_path / "real.npz")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def read_all(file):
    data = open_images(str(file), (3, 6, 4))
    _ = data.statistics
    return list(data.batches(2))


def test_a_bomb_of_zeros_is_not_blown_up(tmp_path):
    with zipfile.ZipFile(tmp_path / "real.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", npy(described("'<f8'", "(6000,)"), bytes(48_000)))
        archive.writestr("sigma.npy", npy(described("'<f8'", "(6000, 6000)"), bytes(1000)))
    with pytest.raises(UsageError, match="are of more than 4,096 features"):
        _ = open_images(str(tmp_path / "real.npz"), (3, 6, 4)).statistics


def test_statistics_in_columns_are_read(tmp_path):
    sigma = np.diag([1.0, 2.0, 3.0])
    np.savez(tmp_path / "real.npz", mu=np.arange(3), sigma=np.asfortranarray(sigma))
    found = open_images(str(tmp_path / "real.npz"), (3, 6, 4)).statistics
    assert found is not None
    assert found["mu"].tolist() == [0.0, 1.0, 2.0]
    assert found["sigma"].tolist() == sigma.tolist()


FORMS = ["GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "PDF", "EPS", "ICO", "DIB", "PCX", "SGI"]


@pytest.mark.parametrize("form", FORMS)
def test_other_formats_are_not_decoded_whatever_their_name(tmp_path, form):
    for number in range(2):
        Image.new("RGB", (4, 6)).save(tmp_path / f"{number}.png", form)
    with pytest.raises(UsageError, match=r"0\.png cannot be read: cannot identify image file"):
        list(open_images(str(tmp_path), (3, 6, 4)).batches(2))


def test_the_content_says_what_a_file_is(tmp_path):
    for number in range(2):
        Image.new("RGB", (4, 6)).save(tmp_path / f"{number}.png", "JPEG")
    assert [len(batch) for batch in open_images(str(tmp_path), (3, 6, 4)).batches(2)] == [2]


@pytest.mark.parametrize("side", [12_000, 30_000])
def test_images_beyond_the_limit_are_one_sentence(tmp_path, side):
    """A PNG's size is said in its head: the pixels are never made."""
    for number in range(2):
        Image.new("L", (1, 1)).save(tmp_path / f"{number}.png")
        content = bytearray((tmp_path / f"{number}.png").read_bytes())
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        (tmp_path / f"{number}.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"0\.png (cannot be read: Image size|is 12000x12000)") as caught:
        list(open_images(str(tmp_path), (3, 6, 4)).batches(2))
    assert "\n" not in str(caught.value)
