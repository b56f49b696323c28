"""The font of captions: Pillow's own.

font = caption_font(13)
draw.text(place, drawable("night → day", font), INK, font)
"""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=8)
def caption_font(size: int) -> Font:
    """The font, `size` pixels high; its one bitmap, 11 pixels high, where Pillow is 10.0 or has no FreeType."""
    try:
        return ImageFont.load_default(size=size)
    except TypeError:  # before Pillow 10.1
        return ImageFont.load_default()


def drawable(text: str, font: Font) -> str:
    """The text as the font can draw it: the bitmap knows Latin-1 alone, and raises for other characters."""
    if isinstance(font, ImageFont.FreeTypeFont):
        return text
    return text.encode("latin-1", "replace").decode("latin-1")
