"""How figures are written, in every audit alike."""
