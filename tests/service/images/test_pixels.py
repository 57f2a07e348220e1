"""Pixels of the variants of each format, compared with what was put into the file."""

import zlib

import numpy as np
import pytest
from PIL import Image

from service.errors import BadImageError, ServiceError, UnsupportedMediaError
from service.images.decode import decode

RGB = 3


def wide(pixels):
    """Samples of 16 bits whose high bytes are the pixels, and whose low bytes differ."""
    return pixels.astype(np.uint16) << 8 | (np.arange(pixels.size).reshape(pixels.shape) % 251)


def as_grey(pixels):
    return np.repeat(pixels[..., :1], RGB, axis=2)


def refusal(body, **options):
    with pytest.raises(ServiceError) as caught:
        decode(body, **{"max_pixels": 25_000_000} | options)
    return caught.value


# TIFF


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [8, 16])
def test_planes_of_a_tiff_are_put_together(files, read, order, tile, compression, bits):
    pixels = files.photograph()
    samples = wide(pixels) if bits == 16 else pixels
    tags = [(259, compression)]
    body = files.tiff(samples, bits=bits, order=order, planar=2, tile=tile, tags=tags)
    np.testing.assert_array_equal(read(body), pixels)


@pytest.mark.parametrize("order", "<>")
def test_planes_with_transparency_and_of_four_inks_are_put_together(files, read, order):
    pixels = files.photograph()
    opaque = np.full((*pixels.shape[:2], 1), 65535, np.uint16)
    opaque[:30] = 0
    body = files.tiff(
        np.concatenate((wide(pixels), opaque), axis=2),
        bits=16,
        order=order,
        planar=2,
        photometric=2,
        tags=[(338, 2)],
    )
    expected = pixels.astype(int)
    expected[:30] = 255
    np.testing.assert_allclose(read(body), expected, atol=1)

    inks = np.concatenate((wide(255 - pixels), np.zeros_like(opaque)), axis=2)
    body = files.tiff(inks, bits=16, order=order, planar=2)
    np.testing.assert_allclose(read(body), pixels, atol=1)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("is_inverted", [False, True])
def test_grey_of_every_depth_has_its_own_scale_and_sign(
    files, read, order, tile, compression, bits, is_inverted
):
    most = (1 << bits) - 1
    levels = files.photograph(60, 79)[..., 1].astype(int) * most // 255
    stored = most - levels if is_inverted else levels
    tags = [(259, compression)]
    photometric = 0 if is_inverted else 1
    body = files.tiff(stored, bits=bits, order=order, photometric=photometric, tile=tile, tags=tags)
    np.testing.assert_allclose(read(body), as_grey((levels * 255 / most)[..., None]), atol=1)


def test_a_tiff_of_64_bit_offsets_is_read_in_the_usual_order_of_bytes(files, read):
    pixels = files.photograph()
    np.testing.assert_array_equal(read(files.tiff(pixels, big=True)), pixels)
    error = refusal(files.tiff(pixels, big=True, order=">"))
    assert error.status == 415
    assert "BigTIFF" in error.message


@pytest.mark.parametrize(
    ("bits", "tags", "says"),
    [
        (8, [(339, 2)], "Signed"),
        (16, [(339, 2)], "Signed"),
        (32, [(339, 2)], "Signed"),
        (32, [], "32 bits a sample"),
        (32, [(339, 3)], "Floating-point"),
        (16, [(339, 3)], "Floating-point"),
        (10, [], "10 bits a sample"),
        (14, [], "14 bits a sample"),
        (8, [(259, 34712)], "number 34712"),
        (8, [(259, 50001)], "number 50001"),
        (8, [(262, 32803)], "of kind 32803"),
    ],
)
@pytest.mark.parametrize("values", [[0, 1], [0, 255]])
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_that_is_not_read_is_refused_whatever_its_values(
    files, bits, tags, says, values, order
):
    body = files.tiff(np.resize(values, (16, 16)), bits=bits, tags=tags, order=order)
    error = refusal(body)
    assert error.status == 415
    assert error.message.startswith("This variant of TIFF is not read. ")
    assert says in error.message


def test_a_tiff_of_lab_with_16_bits_and_of_unlike_samples_is_not_read(files):
    pixels = files.photograph()
    lab = refusal(files.tiff(wide(pixels), bits=16, photometric=8))
    assert (lab.status, "send 8." in lab.message) == (415, True)
    unlike = refusal(files.tiff(pixels, tags=[(258, [5, 6, 5])]))
    assert unlike.status == 415


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("tags", [(), [(338, 999)]])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_sample_that_a_tiff_does_not_explain_is_its_opacity(files, read, planar, tags, bits):
    pixels = files.photograph()
    samples = wide(pixels) if bits == 16 else pixels
    opacity = np.full((*pixels.shape[:2], 1), 0x4040 if bits == 16 else 0x40, samples.dtype)
    body = files.tiff(
        np.concatenate((samples, opacity), axis=2),
        bits=bits,
        planar=planar,
        photometric=2,
        tags=tags,
    )
    expected = 255 - (255 - pixels.astype(float)) * 0x40 / 255
    np.testing.assert_allclose(read(body), expected, atol=1)


@pytest.mark.parametrize("channels", [2, 5])
def test_planes_that_would_be_read_wrongly_are_not_read(files, channels):
    samples = np.full((16, 16, channels), 100, np.uint8)
    extra = [2, 0][: channels - 3] if channels == 5 else [2]
    body = files.tiff(samples, photometric=1 if channels == 2 else 2, planar=2, tags=[(338, extra)])
    error = refusal(body)
    assert (error.status, "planes of their own" in error.message) == (415, True)


@pytest.mark.parametrize("factor", [1, 257])
@pytest.mark.parametrize("order", "<>")
def test_a_palette_of_a_tiff_has_8_or_16_bits(files, read, factor, order):
    palette = np.random.default_rng(1).integers(0, 256, (256, 3))
    indices = files.photograph()[..., 1]
    tags = [(320, (palette.T * factor).ravel().tolist())]
    body = files.tiff(indices, photometric=3, order=order, tags=tags)
    np.testing.assert_array_equal(read(body), palette[indices])


# PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_lies_on_white(files, read, bits):
    most = (1 << bits) - 1
    levels = np.arange(16 * 16).reshape(16, 16) * (257 if bits == 16 else 1) & most
    transparent = 3 * 257 if bits == 16 else 1
    before = files.chunk(b"tRNS", transparent.to_bytes(2))
    expected = (levels >> 8) if bits == 16 else levels * 255 // most
    expected = np.where(levels == transparent, 255, expected)
    body = files.png(levels, bits, before=before)
    np.testing.assert_array_equal(read(body), as_grey(expected[..., None]))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_is_compared_in_all_its_bits(files, read, bits):
    samples = files.photograph().astype(int) * (256 if bits == 16 else 1)
    colour = samples[50, 50].copy()
    samples[5, 5] = colour + 1  # not that colour, though its high byte is
    before = files.chunk(b"tRNS", np.array(colour, ">u2").tobytes())
    expected = samples >> 8 if bits == 16 else samples.copy()
    expected[(samples == colour).all(axis=2)] = 255
    body = files.png(samples, bits, before=before)
    np.testing.assert_array_equal(read(body), expected)


def test_a_palette_with_transparency_and_grey_with_alpha_lie_on_white(files, read):
    indices = np.arange(256).reshape(16, 16) % 3
    palette = [200, 0, 0, 0, 200, 0, 0, 0, 200]
    before = files.chunk(b"tRNS", bytes((255, 0)))
    body = files.png(indices, 8, palette=palette, before=before)
    expected = np.array([(200, 0, 0), (255, 255, 255), (0, 0, 200)])[indices]
    np.testing.assert_array_equal(read(body), expected)

    before = files.chunk(b"tRNS", bytes((255, 0)) + bytes(b"\xff" * 300))  # more than colours
    body = files.png(indices, 8, palette=palette, before=before)
    np.testing.assert_array_equal(read(body), expected)

    grey = np.dstack((np.zeros((16, 16)), np.full((16, 16), 0x8000))).astype(int)
    np.testing.assert_allclose(read(files.png(grey, 16)), 127, atol=1)


@pytest.mark.parametrize("methods", [b"\1\0\0", b"\0\1\0", b"\0\0\2"])
def test_a_png_of_another_method_is_not_read(files, methods):
    body = files.png(files.photograph())
    header = body[16:26] + methods
    body = body[:8] + files.chunk(b"IHDR", header) + body[33:]
    assert refusal(body).status == 415


# JPEG


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(200, 240), (37, 41)])
def test_a_jpeg_without_its_end_is_read_if_its_pixels_are_there(
    files, read, progressive, mode, size
):
    image = Image.fromarray(files.photograph(*size)).convert(mode)
    body = files.saved(image, "JPEG", quality=90, progressive=progressive)
    whole = read(body)
    for cut in (body[:-2], body[:-1], body[:-2] + bytes(512)):
        np.testing.assert_array_equal(read(cut), whole)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.95])
def test_a_jpeg_whose_pixels_are_missing_is_cut_short(files, progressive, share):
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    body = files.saved(noise, "JPEG", progressive=progressive)
    with pytest.raises(BadImageError, match="cut short"):
        decode(body[: int(len(body) * share)], max_pixels=25_000_000)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\xff\xc1\0\x11\x0c", "12 bits a sample"),
        (b"\xff\xf7\0\x11\x08", "JPEG-LS"),
        (b"\xff\xc5\0\x11\x08", "special programs"),
        (b"\xff\xcb\0\x11\x08", "special programs"),
    ],
)
def test_a_jpeg_of_another_coding_is_not_read(files, frame, says):
    body = files.saved(files.photograph(), "JPEG")
    at = body.index(b"\xff\xc0")
    error = refusal(body[:at] + frame + body[at + 5 :])
    assert error.status == 415
    assert says in error.message


# GIF and WebP: the first frame, on white


@pytest.mark.parametrize("transparent", [None, 7])
@pytest.mark.parametrize(
    ("screen", "at"), [((40, 30), (0, 0)), ((40, 30), (9, 4)), ((0, 0), (3, 5))]
)
def test_the_first_frame_of_a_gif_lies_on_white(files, read, screen, at, transparent):
    frame = (np.arange(12 * 20).reshape(12, 20) // 5).astype(np.uint8)
    body = files.gif(frame, screen=screen, at=at, background=5, transparent=transparent)
    colours = np.array([files.gif_colour(i) for i in range(256)])[frame]
    if transparent is not None:
        colours[frame == transparent] = 255
    width, height = max(screen[0], at[0] + 20), max(screen[1], at[1] + 12)
    expected = np.full((height, width, 3), 255)
    expected[at[1] : at[1] + 12, at[0] : at[0] + 20] = colours
    np.testing.assert_array_equal(read(body), expected)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("has_alpha", [True, False])
@pytest.mark.parametrize("turned", [1, 6])
def test_the_first_frame_of_an_animated_webp_lies_on_white(
    files, read, lossless, has_alpha, turned
):
    pixels = files.photograph(20, 24)
    frame = Image.fromarray(pixels)
    if has_alpha:
        frame.putalpha(Image.fromarray(np.repeat(np.uint8([[255] * 12 + [0] * 12]), 20, axis=0)))
    still = files.saved(frame, "WEBP", lossless=lossless, quality=100, exact=True)
    at = 12 if still[12:16] != b"VP8X" else 30
    box = b"\2\0\0\3\0\0" + (23).to_bytes(3, "little") + (19).to_bytes(3, "little") + bytes(4)
    extended = b"\x0a\0\0\0" + (39).to_bytes(3, "little") + (29).to_bytes(3, "little")
    body = files.riff(
        (b"VP8X", extended),
        (b"ANIM", b"\0\0\xff\xff\0\0"),
        (b"ANMF", box + still[at:]),
        (b"ANMF", box + still[at:]),
        (b"EXIF", b"Exif\0\0" + files.exif(turned)),
    )
    expected = np.full((30, 40, 3), 255)
    expected[6:26, 4:28] = pixels
    if has_alpha:
        expected[6:26, 16:28] = 255
    expected = np.rot90(expected, -1) if turned == 6 else expected
    assert np.abs(read(body) - expected).mean() < (0.01 if lossless else 3)


# BMP and AVIF


def test_a_bmp_of_other_masks_or_codings_is_not_read(files):
    body = bytearray(files.saved(files.photograph(), "BMP"))
    body[28:30] = (16).to_bytes(2, "little")
    body[30] = 3
    body[54:66] = np.array([0xF00, 0xF0, 0xF], "<u4").tobytes()
    assert refusal(bytes(body)).status == 415
    body[30] = 4
    assert refusal(bytes(body)).status == 415


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_read_and_turned(files, read, orientation):
    upright = Image.fromarray(files.photograph())
    exif = Image.Exif()
    exif[0x112] = orientation
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes it
    stored = upright if orientation == 1 else upright.transpose(turns[orientation])
    body = files.saved(stored, "AVIF", quality=95, exif=exif)
    assert np.abs(read(body) - files.photograph()).mean() < 3


def test_an_avif_with_transparency_lies_on_white(files, read):
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    decoded = read(files.saved(image, "AVIF", quality=95))
    np.testing.assert_allclose(decoded[16, 4], [0, 0, 255], atol=4)
    np.testing.assert_allclose(decoded[16, 28], 255, atol=4)


def test_what_avif_is_not(files):
    body = files.saved(files.photograph(), "AVIF")
    heic = body[:8] + b"heic" + body[12:16] + b"heicmif1" + body[24:]
    error = refusal(heic)
    assert error.status == 415
    assert "this is HEIC" in error.message
    for share in (0.1, 0.5, 0.9):
        with pytest.raises((BadImageError, UnsupportedMediaError)):
            decode(body[: int(len(body) * share)], max_pixels=10_000)


def test_deflated_data_that_ends_early_is_refused(files):
    body = files.png(files.photograph())
    data = zlib.compress(b"\0" * 100)
    at = body.index(b"IDAT") - 4
    assert refusal(body[:at] + files.chunk(b"IDAT", data)).status == 400
