"""Captions are drawn with whatever font the installed Pillow has."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw, ImageFont

from pictures.font import Font, caption_font, drawable


def bitmap() -> Font:
    """What Pillow 10.0, or one without FreeType, draws with."""
    older = getattr(ImageFont, "load_default_imagefont", ImageFont.load_default)
    font: Font = older()
    return font


@pytest.mark.parametrize("font", [bitmap(), caption_font(13)], ids=["bitmap", "own"])
@pytest.mark.parametrize("text", ["severe · night", "müde → 疲労"])
def test_any_text_is_drawn(font: Font, text: str) -> None:
    image = Image.new("L", (200, 20))
    ImageDraw.Draw(image).text((0, 0), drawable(text, font), 255, font)
    assert image.getbbox() is not None
    assert 10 < font.getlength(drawable(text, font)) < 200


def test_a_font_with_every_character_draws_the_text_as_it_is() -> None:
    font = caption_font(13)
    if isinstance(font, ImageFont.FreeTypeFont):
        assert drawable("müde → 疲労", font) == "müde → 疲労"
    assert drawable("müde → 疲労", bitmap()) == "müde ? ??"
