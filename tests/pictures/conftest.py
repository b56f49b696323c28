"""A fake bundle, so that sheets are drawn of generated frames."""

from tests.runtime.conftest import bundle

__all__ = ["bundle"]
